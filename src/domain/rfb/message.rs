//! The messages of a viewer, and their encoding.

/// The numbers of pseudo-encodings that change what a viewer sends.
pub mod pseudo_encoding {
    /// QEMU's extended key events; the server confirms that it reads them.
    pub const QEMU_KEYS: i32 = -258;
    /// Nine mouse buttons; the server confirms that it reads them.
    pub const EXTENDED_MOUSE_BUTTONS: i32 = -316;
    /// A clipboard of large UTF-8 texts, which are requested rather than pushed.
    pub const EXTENDED_CLIPBOARD: i32 = i32::from_be_bytes([0xc0, 0xa1, 0xe5, 0xce]);
}

/// A rectangle of the display, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    pub x: u16,
    pub y: u16,
    pub width: u16,
    pub height: u16,
}

impl Area {
    /// Returns the smallest area that covers both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        let x = self.x.min(other.x);
        let y = self.y.min(other.y);
        let right = self.x.saturating_add(self.width).max(other.x.saturating_add(other.width));
        let bottom = self.y.saturating_add(self.height).max(other.y.saturating_add(other.height));
        Self { x, y, width: right.saturating_sub(x), height: bottom.saturating_sub(y) }
    }
}

/// A message from a viewer to the VNC server (RFC 6143, section 7.5, and extensions).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage {
    /// Message type 0. The format is kept as received.
    SetPixelFormat([u8; 16]),
    /// Message type 2: the encodings that the viewer supports.
    SetEncodings(Vec<i32>),
    /// Message type 3: a request for a part of the display.
    UpdateRequest { incremental: bool, area: Area },
    /// Message type 4: a key went down or up.
    Key { down: bool, keysym: u32 },
    /// Message type 5: the pointer's position and buttons. Bit 0 of `buttons` is the left button.
    /// `extended` is true for the seven-byte form, which has nine buttons.
    Pointer { buttons: u16, x: u16, y: u16, extended: bool },
    /// Message type 6: the viewer's clipboard, in Latin-1.
    CutText(Vec<u8>),
    /// Message type 6 with a negative length: an action of the extended clipboard.
    ExtendedClipboard { flags: u32, payload: Vec<u8> },
    /// Message type 6 beyond the accepted length. Its text was skipped, so it cannot be encoded.
    LongCutText { length: u32 },
    /// Message type 150: requests updates without further requests.
    ContinuousUpdates { enable: bool, area: Area },
    /// Message type 248, with at most 64 bytes of payload.
    Fence { flags: u32, payload: Vec<u8> },
    /// Message type 250: a request to shut down or restart the machine.
    Xvp { version: u8, code: u8 },
    /// Message type 251. The screens are kept as received.
    SetDesktopSize { width: u16, height: u16, screens: Vec<[u8; 16]> },
    /// Message type 253: input of other devices. Its events were skipped, so it cannot be encoded.
    Gii { length: u16 },
    /// Message type 255, submessage 0. The keycode is an XT scancode.
    QemuKey { down: bool, keysym: u32, keycode: u32 },
}

impl ClientMessage {
    /// Appends the message in its wire format. A message whose content was skipped appends nothing.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::SetPixelFormat(format) => {
                out.extend([0, 0, 0, 0]);
                out.extend(format);
            }
            Self::SetEncodings(encodings) => {
                let count = u16::try_from(encodings.len()).unwrap_or(u16::MAX);
                out.extend([2, 0]);
                out.extend(count.to_be_bytes());
                for encoding in encodings.iter().take(count.into()) {
                    out.extend(encoding.to_be_bytes());
                }
            }
            Self::UpdateRequest { incremental, area } => {
                out.extend([3, u8::from(*incremental)]);
                encode_area(*area, out);
            }
            Self::Key { down, keysym } => {
                out.extend([4, u8::from(*down), 0, 0]);
                out.extend(keysym.to_be_bytes());
            }
            Self::Pointer { buttons, x, y, extended } => {
                let [_, low] = buttons.to_be_bytes();
                let [_, high] = (buttons >> 7).to_be_bytes();
                out.extend([5, if *extended { low | 0x80 } else { low }]);
                out.extend(x.to_be_bytes());
                out.extend(y.to_be_bytes());
                if *extended {
                    out.push(high);
                }
            }
            Self::CutText(text) => {
                let Some(length) = i32::try_from(text.len()).ok() else { return };
                out.extend([6, 0, 0, 0]);
                out.extend(length.to_be_bytes());
                out.extend(text);
            }
            Self::ExtendedClipboard { flags, payload } => {
                let Some(length) = i32::try_from(payload.len().saturating_add(4)).ok() else {
                    return;
                };
                out.extend([6, 0, 0, 0]);
                out.extend((-length).to_be_bytes());
                out.extend(flags.to_be_bytes());
                out.extend(payload);
            }
            Self::LongCutText { .. } | Self::Gii { .. } => {}
            Self::ContinuousUpdates { enable, area } => {
                out.extend([150, u8::from(*enable)]);
                encode_area(*area, out);
            }
            Self::Fence { flags, payload } => {
                let length = u8::try_from(payload.len()).unwrap_or(u8::MAX);
                out.extend([248, 0, 0, 0]);
                out.extend(flags.to_be_bytes());
                out.push(length);
                out.extend(payload.iter().take(length.into()));
            }
            Self::Xvp { version, code } => out.extend([250, 0, *version, *code]),
            Self::SetDesktopSize { width, height, screens } => {
                let count = u8::try_from(screens.len()).unwrap_or(u8::MAX);
                out.extend([251, 0]);
                out.extend(width.to_be_bytes());
                out.extend(height.to_be_bytes());
                out.extend([count, 0]);
                screens.iter().take(count.into()).for_each(|screen| out.extend(screen));
            }
            Self::QemuKey { down, keysym, keycode } => {
                out.extend([255, 0]);
                out.extend(u16::from(*down).to_be_bytes());
                out.extend(keysym.to_be_bytes());
                out.extend(keycode.to_be_bytes());
            }
        }
    }
}

fn encode_area(area: Area, out: &mut Vec<u8>) {
    for value in [area.x, area.y, area.width, area.height] {
        out.extend(value.to_be_bytes());
    }
}
