//! Boxes with labels, drawn into a picture; pure, without a page.

use jpeg_encoder::{ColorType, Encoder};

use super::boxes::Rectangle;

/// The maximum number of pixels of a picture that is drawn into.
pub(super) const MOST_PIXELS: f64 = 16_000_000.0;

/// The file format of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureFormat {
    Png,
    Jpeg {
        /// The quality, from 1 to 100.
        quality: u8,
    },
}

/// A box with the number of a reference, in pixels of the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Mark {
    number: u64,
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

/// The signs of a label, from the top row to the bottom one; bit 4 is the left column.
const GLYPHS: [(char, [u8; 7]); 11] = [
    ('0', [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110]),
    ('1', [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110]),
    ('2', [0b01110, 0b10001, 0b00001, 0b00010, 0b00100, 0b01000, 0b11111]),
    ('3', [0b11111, 0b00010, 0b00100, 0b00010, 0b00001, 0b10001, 0b01110]),
    ('4', [0b00010, 0b00110, 0b01010, 0b10010, 0b11111, 0b00010, 0b00010]),
    ('5', [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110]),
    ('6', [0b00110, 0b01000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110]),
    ('7', [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b01000, 0b01000]),
    ('8', [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110]),
    ('9', [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00010, 0b01100]),
    ('e', [0b00000, 0b00000, 0b01110, 0b10001, 0b11111, 0b10000, 0b01110]),
];
const GLYPH_WIDTH: usize = 5;
const GLYPH_HEIGHT: usize = 7;
/// The free pixels around the signs of a label.
const MARGIN: usize = 2;
/// The width of the lines of a box, in pixels.
const LINE: usize = 2;

/// The colors of boxes; all are dark enough for white signs.
const COLORS: [[u8; 3]; 6] =
    [[200, 30, 30], [20, 90, 200], [10, 120, 50], [150, 40, 170], [180, 80, 0], [0, 110, 130]];

struct Canvas {
    width: usize,
    height: usize,
    /// Red, green and blue of each pixel.
    pixels: Vec<u8>,
}

/// Draws boxes into a PNG, and encodes the result. The boxes are relative to the part of the page that
/// the picture shows, which is `width` CSS pixels wide; those outside are left out.
pub(super) fn draw(
    file: &[u8],
    boxes: &[(u64, Rectangle)],
    width: f64,
    format: PictureFormat,
) -> Result<Vec<u8>, String> {
    let mut canvas = Canvas::decode(file)?;
    let (right, bottom) = (float(canvas.width), float(canvas.height));
    let scale = right / width.max(1.0);
    let marks = boxes.iter().map(|(number, found)| Mark {
        number: *number,
        left: found.x * scale,
        top: found.y * scale,
        right: (found.x + found.width) * scale,
        bottom: (found.y + found.height) * scale,
    });
    let is_shown = |mark: &Mark| {
        mark.left < right && mark.top < bottom && mark.right > 0.0 && mark.bottom > 0.0
    };
    let marks: Vec<Mark> = marks.filter(is_shown).collect();
    for mark in &marks {
        canvas.frame(mark);
    }
    // Labels are above all lines.
    for mark in &marks {
        canvas.label(mark);
    }
    canvas.encode(format)
}

fn float(value: usize) -> f64 {
    u32::try_from(value).map_or(f64::MAX, f64::from)
}

/// Converts a coordinate to the index of a pixel, from 0 to `most`.
fn pixel(at: f64, most: usize) -> usize {
    // Bisection, as there is no lossless conversion from floating point.
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if float(middle) <= at { low = middle } else { high = middle - 1 }
    }
    low
}

impl Canvas {
    fn decode(file: &[u8]) -> Result<Self, String> {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(file));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().map_err(|error| error.to_string())?;
        let size = reader.output_buffer_size().ok_or("the picture is too large")?;
        let mut buffer = vec![0; size];
        let info = reader.next_frame(&mut buffer).map_err(|error| error.to_string())?;
        buffer.truncate(info.buffer_size());
        let samples = info.color_type.samples();
        let pixels = match info.color_type {
            png::ColorType::Rgb => buffer,
            png::ColorType::Rgba => buffer
                .chunks_exact(samples)
                .flat_map(|pixel| pixel.iter().take(3))
                .copied()
                .collect(),
            png::ColorType::Grayscale
            | png::ColorType::GrayscaleAlpha
            | png::ColorType::Indexed => buffer
                .chunks_exact(samples)
                .flat_map(|pixel| std::iter::repeat_n(pixel.first().copied().unwrap_or(0), 3))
                .collect(),
        };
        let side = |side: u32| usize::try_from(side).map_err(|error| error.to_string());
        Ok(Self { width: side(info.width)?, height: side(info.height)?, pixels })
    }

    fn encode(&self, format: PictureFormat) -> Result<Vec<u8>, String> {
        let mut file = Vec::new();
        match format {
            PictureFormat::Png => {
                let side = |side: usize| u32::try_from(side).map_err(|error| error.to_string());
                let (width, height) = (side(self.width)?, side(self.height)?);
                let mut encoder = png::Encoder::new(&mut file, width, height);
                encoder.set_color(png::ColorType::Rgb);
                encoder.set_depth(png::BitDepth::Eight);
                encoder.set_compression(png::Compression::Fast);
                let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
                writer.write_image_data(&self.pixels).map_err(|error| error.to_string())?;
                writer.finish().map_err(|error| error.to_string())?;
            }
            PictureFormat::Jpeg { quality } => {
                let side = |side: usize| u16::try_from(side).map_err(|error| error.to_string());
                let (width, height) = (side(self.width)?, side(self.height)?);
                let encoder = Encoder::new(&mut file, quality.clamp(1, 100));
                let done = encoder.encode(&self.pixels, width, height, ColorType::Rgb);
                done.map_err(|error| error.to_string())?;
            }
        }
        Ok(file)
    }

    fn set(&mut self, x: usize, y: usize, color: [u8; 3]) {
        if x >= self.width || y >= self.height {
            return;
        }
        let at = (y * self.width + x) * 3;
        if let Some(pixel) = self.pixels.get_mut(at..at + 3) {
            pixel.copy_from_slice(&color);
        }
    }

    fn fill(
        &mut self,
        (left, top): (usize, usize),
        (right, bottom): (usize, usize),
        color: [u8; 3],
    ) {
        for y in top..bottom.min(self.height) {
            for x in left..right.min(self.width) {
                self.set(x, y, color);
            }
        }
    }

    /// Returns the corners of a mark as pixels within the picture.
    fn corners(&self, mark: &Mark) -> [usize; 4] {
        [
            pixel(mark.left, self.width),
            pixel(mark.top, self.height),
            pixel(mark.right, self.width),
            pixel(mark.bottom, self.height),
        ]
    }

    fn frame(&mut self, mark: &Mark) {
        let [left, top, right, bottom] = self.corners(mark);
        let color = color(mark.number);
        self.fill((left, top), (right, (top + LINE).min(bottom)), color);
        self.fill((left, bottom.saturating_sub(LINE).max(top)), (right, bottom), color);
        self.fill((left, top), ((left + LINE).min(right), bottom), color);
        self.fill((right.saturating_sub(LINE).max(left), top), (right, bottom), color);
    }

    fn label(&mut self, mark: &Mark) {
        let [left, top, ..] = self.corners(mark);
        let text = format!("e{}", mark.number);
        let width = text.len() * (GLYPH_WIDTH + 1) + 2 * MARGIN - 1;
        let height = GLYPH_HEIGHT + 2 * MARGIN;
        // Above the box if there is room, so that it hides little of the element.
        let top = if top >= height { top - height } else { top };
        let left = left.min(self.width.saturating_sub(width));
        self.fill((left, top), (left + width, top + height), color(mark.number));
        for (index, sign) in text.chars().enumerate() {
            let glyph = GLYPHS.iter().find(|(letter, _rows)| *letter == sign);
            let Some((_letter, rows)) = glyph else { continue };
            let x = left + MARGIN + index * (GLYPH_WIDTH + 1);
            for (y, row) in rows.iter().enumerate() {
                for column in 0..GLYPH_WIDTH {
                    if row & (0b10000 >> column) != 0 {
                        self.set(x + column, top + MARGIN + y, [255, 255, 255]);
                    }
                }
            }
        }
    }
}

fn color(number: u64) -> [u8; 3] {
    let count = u64::try_from(COLORS.len()).unwrap_or(1);
    let index = usize::try_from(number % count).unwrap_or_default();
    COLORS.get(index).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank(width: usize, height: usize) -> Vec<u8> {
        let pixels = vec![255; width * height * 3];
        Canvas { width, height, pixels }.encode(PictureFormat::Png).unwrap()
    }

    #[test]
    fn a_box_and_its_label_are_drawn() {
        // The picture has two pixels for each of CSS.
        let found = Rectangle { x: 1.2, y: 7.0, width: 18.8, height: 3.0 };
        let outside = Rectangle { x: 30.0, ..found };
        let boxes = [(17, found), (5, outside)];
        let file = draw(&blank(44, 22), &boxes, 22.0, PictureFormat::Png).unwrap();
        let canvas = Canvas::decode(&file).unwrap();
        let rows = canvas.pixels.chunks_exact(canvas.width * 3).map(|row| {
            let letters = row.chunks_exact(3).map(|pixel| match pixel {
                [255, 255, 255] => ' ',
                _ => '#',
            });
            letters.collect::<String>().trim_end().to_owned()
        });
        let drawn = rows.collect::<Vec<_>>();
        assert_eq!(drawn[14], format!("  {}", "#".repeat(38)), "{}", drawn.join("\n"));
        assert_eq!(drawn[16], format!("  ##{}##", " ".repeat(34)));
        assert_eq!(drawn[19], drawn[14]);
        assert_eq!(drawn[20], "");
        assert_eq!(drawn[3], "  #####################");
        // The `1` and the `7` of the label.
        assert_eq!(drawn[9], "  ##     ### #### #####", "{}", drawn.join("\n"));
    }

    #[test]
    fn marks_beyond_the_picture_are_cut_and_both_formats_are_written() {
        let boxes = [(3, Rectangle { x: -5.0, y: -5.0, width: 1e9, height: 1e300 })];
        let png = draw(&blank(10, 10), &boxes, 10.0, PictureFormat::Png).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        let jpeg = draw(&blank(10, 10), &boxes, 10.0, PictureFormat::Jpeg { quality: 80 }).unwrap();
        assert!(jpeg.starts_with(&[0xff, 0xd8, 0xff]));
        assert!(draw(b"no picture", &[], 10.0, PictureFormat::Png).is_err());
    }
}
