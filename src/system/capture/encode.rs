//! Encoding of pixels as image files.

use jpeg_encoder::{ColorType, Encoder, SamplingFactor};

use super::error;
use crate::domain::session::Size;
use crate::system::seam::{CaptureError, Format};

const JPEG_QUALITY: u8 = 80;

/// Encodes a frame in the X server's format: blue, green, red and an unused byte per pixel.
///
/// # Errors
///
/// A [`CaptureError`] if the frame does not have this size.
pub fn encode(frame: &[u8], size: Size, format: Format) -> Result<Vec<u8>, CaptureError> {
    match format {
        Format::Png => png(frame, size),
        Format::Jpeg => jpeg(frame, size),
    }
}

fn png(frame: &[u8], size: Size) -> Result<Vec<u8>, CaptureError> {
    let mut pixels = vec![0; frame.len() / 4 * 3];
    for (pixel, shown) in pixels.chunks_exact_mut(3).zip(frame.chunks_exact(4)) {
        if let ([red, green, blue], [b, g, r, _]) = (pixel, shown) {
            (*red, *green, *blue) = (*r, *g, *b);
        }
    }
    let mut file = Vec::with_capacity(512 * 1024);
    let mut encoder = png::Encoder::new(&mut file, size.width().into(), size.height().into());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(error)?;
    writer.write_image_data(&pixels).map_err(error)?;
    writer.finish().map_err(error)?;
    Ok(file)
}

fn jpeg(frame: &[u8], size: Size) -> Result<Vec<u8>, CaptureError> {
    let mut file = Vec::with_capacity(256 * 1024);
    let mut encoder = Encoder::new(&mut file, JPEG_QUALITY);
    encoder.set_sampling_factor(SamplingFactor::F_2_2);
    encoder.encode(frame, size.width(), size.height(), ColorType::Bgra).map_err(error)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_has_the_colours_of_the_frame() {
        let size = Size::new(200, 200).unwrap();
        let frame = [10, 20, 30, 0].repeat(200 * 200);
        let file = encode(&frame, size, Format::Png).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        assert_eq!((pixels.len(), &pixels[..3]), (200 * 200 * 3, &[30, 20, 10][..]));
    }

    #[test]
    fn a_jpeg_is_a_jpeg() {
        let size = Size::new(200, 200).unwrap();
        let file = encode(&[0; 200 * 200 * 4], size, Format::Jpeg).unwrap();
        assert_eq!(&file[..3], [0xff, 0xd8, 0xff]);
    }
}
