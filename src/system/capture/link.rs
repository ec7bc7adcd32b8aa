//! The connection to the X server: grabbing pixels, and notification of drawing.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;

use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::damage::{ConnectionExt as _, ReportLevel};
use x11rb::protocol::shm::ConnectionExt as _;
use x11rb::protocol::xproto::{ImageFormat, Window};
use x11rb::rust_connection::RustConnection;

use super::error;
use crate::domain::session::Size;
use crate::system::display::{Cookie, client, socket};
use crate::system::seam::CaptureError;

/// A connection to a display for taking pictures.
pub(super) struct Link {
    connection: RustConnection,
    root: Window,
    size: Size,
    segment: u32,
    memory: File,
    damage: u32,
    /// The pixels of one grab: rows from the top, four bytes per pixel (blue, green, red, unused).
    frame: Vec<u8>,
}

/// Connects the socket only, so that the caller can shut it down.
pub(super) fn connect(display: u16) -> Result<UnixStream, CaptureError> {
    UnixStream::connect(socket(display)).map_err(error)
}

impl Link {
    pub(super) fn new(stream: UnixStream, cookie: &Cookie) -> Result<Self, CaptureError> {
        let connection = client(stream, cookie).map_err(error)?;
        let screen =
            connection.setup().roots.first().ok_or_else(|| error("the display has no screen"))?;
        let root = screen.root;
        if screen.root_depth != 24 {
            return Err(error(format!(
                "the screen has a depth of {} bits, not 24",
                screen.root_depth
            )));
        }
        let size = Size::new(screen.width_in_pixels.into(), screen.height_in_pixels.into())
            .map_err(error)?;
        let bytes = u32::from(size.width()) * u32::from(size.height()) * 4;

        // The extension accepts no other request before its version is queried.
        connection.damage_query_version(1, 1).map_err(error)?.reply().map_err(error)?;
        let segment = connection.generate_id().map_err(error)?;
        let shared = connection.shm_create_segment(segment, bytes, false).map_err(error)?;
        let memory = File::from(shared.reply().map_err(error)?.shm_fd);
        let damage = connection.generate_id().map_err(error)?;
        connection.damage_create(damage, root, ReportLevel::NON_EMPTY).map_err(error)?;
        connection.flush().map_err(error)?;
        let length = usize::try_from(bytes).map_err(error)?;
        Ok(Self { connection, root, size, segment, memory, damage, frame: vec![0; length] })
    }

    pub(super) fn size(&self) -> Size {
        self.size
    }

    pub(super) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// True if anything was drawn since the last call.
    pub(super) fn was_drawn(&self) -> Result<bool, CaptureError> {
        let mut drawn = false;
        while let Some(event) = self.connection.poll_for_event().map_err(error)? {
            drawn |= matches!(event, Event::DamageNotify(_));
        }
        if drawn {
            // Subtracted before the grab, so that drawing from now on is reported again.
            self.connection
                .damage_subtract(self.damage, x11rb::NONE, x11rb::NONE)
                .map_err(error)?;
            self.connection.flush().map_err(error)?;
        }
        Ok(drawn)
    }

    /// Copies the display into [`frame`](Self::frame).
    pub(super) fn grab(&mut self) -> Result<(), CaptureError> {
        let image = self
            .connection
            .shm_get_image(
                self.root,
                0,
                0,
                self.size.width(),
                self.size.height(),
                u32::MAX,
                ImageFormat::Z_PIXMAP.into(),
                self.segment,
                0,
            )
            .map_err(error)?;
        image.reply().map_err(error)?;
        self.memory.read_exact_at(&mut self.frame, 0).map_err(error)
    }
}
