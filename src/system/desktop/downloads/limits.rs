//! Reasons for which a download is not kept.

/// The reason for a file beyond `max_files`.
pub(super) fn too_many(max_files: usize) -> String {
    format!("the session has {max_files} downloads (desktop.downloads.max_files)")
}

/// The reason for a file that is too large by itself.
pub(super) fn too_large(max_megabytes: u64) -> String {
    format!("the file has more than {max_megabytes} MB (desktop.downloads.max_megabytes)")
}

/// The reason for a file that makes the total size too large.
pub(super) fn too_much(max_total_megabytes: u64) -> String {
    format!(
        "the session's downloads have more than {max_total_megabytes} MB \
         (desktop.downloads.max_total_megabytes)"
    )
}
