//! The place of a profile's writer, which a session takes in the transaction that inserts it.

/// True if a session that is about to be inserted may write to a profile. The row of the profile is locked
/// until the end of the transaction.
macro_rules! is_free {
    ($c:ident, $organization:expr, $session:expr, $used:expr) => {{
        use $crate::schema::{browser_profiles, browser_sessions};
        let row = browser_profiles::table.filter(browser_profiles::id.eq($used.id.to_string()));
        let same = browser_profiles::writer_id.eq(browser_profiles::writer_id);
        diesel::update(row.clone()).set(same).execute($c).await?;
        let columns = (browser_profiles::organization_id, browser_profiles::writer_id);
        let known: Option<(String, Option<String>)> =
            row.select(columns).first($c).await.optional()?;
        match known {
            None => $used.is_new,
            Some((owner, _)) if owner != $organization => false,
            Some((_, None)) => true,
            Some((_, Some(writer))) => {
                let live = browser_sessions::table
                    .filter(browser_sessions::id.eq(writer.clone()))
                    .filter(browser_sessions::status.eq_any($crate::db::sessions::LIVE));
                writer == $session || live.count().get_result::<i64>($c).await? == 0
            }
        }
    }};
}

/// Makes a session the writer of a profile that is free.
macro_rules! take_place {
    ($c:ident, $session:expr, $used:expr) => {{
        use $crate::schema::browser_profiles;
        let row = browser_profiles::table.filter(browser_profiles::id.eq($used.id.to_string()));
        let writer = browser_profiles::writer_id.eq(Some($session));
        diesel::update(row).set(writer).execute($c).await?
    }};
}

pub(in crate::db) use {is_free, take_place};
