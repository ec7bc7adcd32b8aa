//! The pages of measurements, as addresses that need no site.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// The page without anything on it.
pub(super) const EMPTY: &str = "data:text/html,<title>bench</title>";

/// A page of one colour, which changes when a button is pressed on it.
pub(super) fn clicked() -> String {
    address(
        "<title>click</title><body style='margin:0;height:100vh;background:#102030'><script>\
         let on = false;\
         addEventListener('pointerdown', () => {\
           document.body.style.background = (on = !on) ? '#f0f0f0' : '#102030';\
         });\
         </script>",
    )
}

/// A page with a picture of 640x360 pixels, all of which change ten times in a second, in colours that the
/// seed determines.
pub(super) fn moving(seed: u64) -> String {
    let hue = seed % 360;
    address(&format!(
        "<title>moving</title><body style='margin:0;background:#223'>\
         <canvas width=640 height=360></canvas><script>\
         const context = document.querySelector('canvas').getContext('2d');\
         let step = 0;\
         setInterval(() => {{\
           step += 1;\
           for (let x = 0; x < 640; x += 20) for (let y = 0; y < 360; y += 20) {{\
             const hue = ({hue} + x * 3 + y * 5 + step * 17) % 360;\
             const light = 30 + (x * y + step * 7) % 40;\
             context.fillStyle = 'hsl(' + hue + ' 70% ' + light + '%)';\
             context.fillRect(x, y, 20, 20);\
           }}\
         }}, 100);\
         </script>"
    ))
}

fn address(html: &str) -> String {
    format!("data:text/html,{}", utf8_percent_encode(html, NON_ALPHANUMERIC))
}
