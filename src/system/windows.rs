//! Correction of windows that are one pixel smaller than their display.
//!
//! Chromium assumes that a window manager would make a window of exactly the display's size
//! full-screen, and makes it a pixel narrower and lower. No window manager runs here, so the size
//! is corrected from outside. This concerns each top-level window of that size, when it appears and
//! whenever it gets that size again. A window of any other size, such as a popup, is left alone.
//!
//! Each display has one thread, which waits in a read and ends with the display or its guard.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use x11rb::connection::Connection as _;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    ChangeWindowAttributesAux, ConfigureWindowAux, ConnectionExt as _, EventMask, MapState, Window,
};
use x11rb::rust_connection::RustConnection;

use super::display::{Cookie, client, socket};

/// An error after which a connection to a display is unusable.
type Broken = Box<dyn std::error::Error + Send + Sync>;

/// The running correction of window sizes on one display, which ends when this is dropped.
#[derive(Debug)]
pub struct Fitting(Option<UnixStream>);

impl Drop for Fitting {
    fn drop(&mut self) {
        if let Some(stream) = &self.0 {
            // The thread waits in a read, which ends with this.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Starts to correct the sizes of windows on a display. A display that refuses the connection has
/// ended, which its session notices by itself.
pub fn fit(number: u16, cookie: Cookie) -> Fitting {
    let connected = UnixStream::connect(socket(number)).and_then(|it| Ok((it.try_clone()?, it)));
    let (handle, stream) = match connected {
        Ok(both) => both,
        Err(cause) => {
            tracing::debug!(display = number, error = %cause, "windows are not fitted");
            return Fitting(None);
        }
    };
    let work = move || {
        if let Err(cause) = Fitter::new(stream, &cookie).and_then(|fitter| fitter.run()) {
            tracing::debug!(display = number, error = %cause, "windows are no longer fitted");
        }
    };
    if let Err(cause) = std::thread::Builder::new().name(format!("windows :{number}")).spawn(work) {
        tracing::error!(error = %cause, "the thread for the windows of a display cannot be started");
    }
    Fitting(Some(handle))
}

/// A client of the display that follows its top-level windows.
struct Fitter {
    connection: RustConnection,
    root: Window,
    width: u16,
    height: u16,
}

impl Fitter {
    fn new(stream: UnixStream, cookie: &Cookie) -> Result<Self, Broken> {
        let connection = client(stream, cookie)?;
        let screen = connection.setup().roots.first().ok_or("the display has no screen")?;
        let (root, width, height) = (screen.root, screen.width_in_pixels, screen.height_in_pixels);
        Ok(Self { connection, root, width, height })
    }

    fn run(&self) -> Result<(), Broken> {
        let mask = EventMask::SUBSTRUCTURE_NOTIFY;
        let wanted = ChangeWindowAttributesAux::new().event_mask(mask);
        self.connection.change_window_attributes(self.root, &wanted)?.check()?;
        for window in self.connection.query_tree(self.root)?.reply()?.children {
            self.appeared(window)?;
        }
        loop {
            let event = self.connection.wait_for_event()?;
            if let Event::MapNotify(mapped) = &event {
                if !mapped.override_redirect {
                    self.appeared(mapped.window)?;
                }
            } else if let Event::ConfigureNotify(changed) = &event
                && !changed.override_redirect
            {
                self.sized(changed.window, changed.width, changed.height)?;
            }
        }
    }

    /// Checks a window that is shown. The replies fail if it was destroyed meanwhile.
    fn appeared(&self, window: Window) -> Result<(), Broken> {
        let attributes = self.connection.get_window_attributes(window)?;
        let geometry = self.connection.get_geometry(window)?;
        let (Ok(attributes), Ok(geometry)) = (attributes.reply(), geometry.reply()) else {
            return Ok(());
        };
        if attributes.map_state == MapState::VIEWABLE && !attributes.override_redirect {
            self.sized(window, geometry.width, geometry.height)?;
        }
        Ok(())
    }

    fn sized(&self, window: Window, width: u16, height: u16) -> Result<(), Broken> {
        if !is_a_pixel_short((self.width, self.height), (width, height)) {
            return Ok(());
        }
        let whole = ConfigureWindowAux::new()
            .x(0)
            .y(0)
            .width(u32::from(self.width))
            .height(u32::from(self.height));
        self.connection.configure_window(window, &whole)?.ignore_error();
        self.connection.flush()?;
        Ok(())
    }
}

/// True for the size that Chromium gives a window instead of its display's size.
fn is_a_pixel_short(display: (u16, u16), window: (u16, u16)) -> bool {
    let longer = |length: u16| length.checked_add(1);
    (longer(window.0), longer(window.1)) == (Some(display.0), Some(display.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_window_that_is_one_pixel_short_in_both_directions_is_fitted() {
        let display = (1280, 800);
        assert!(is_a_pixel_short(display, (1279, 799)));
        for other in [(1280, 800), (1279, 800), (1280, 799), (1278, 798), (400, 300)] {
            assert!(!is_a_pixel_short(display, other), "{other:?}");
        }
        assert!(!is_a_pixel_short((0, 0), (u16::MAX, u16::MAX)));
    }
}
