//! Draws what a terminal showed as an SVG picture.

use std::fmt::Write;

const CHAR_WIDTH: f32 = 7.83;
const LINE_HEIGHT: usize = 18;
const MARGIN: usize = 16;
const TITLE_HEIGHT: usize = 32;

/// A window with a title bar and the lines in it; colours by how a line begins.
pub fn terminal(title: &str, lines: &[String]) -> String {
    let longest = lines.iter().map(|l| l.chars().count()).max().unwrap_or(0);
    #[expect(clippy::cast_precision_loss, reason = "a line has less than a thousand characters")]
    let width = (longest as f32 * CHAR_WIDTH).ceil() + 2.0 * 16.0;
    let height = TITLE_HEIGHT + MARGIN + lines.len() * LINE_HEIGHT + MARGIN;
    let mut svg = String::new();
    let mut put = |line: String| writeln!(svg, "{line}").expect("a string takes any text");
    put(format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="ui-monospace, Menlo, Consolas, monospace" font-size="13">"#
    ));
    put(format!(r##"<rect width="{width}" height="{height}" rx="8" fill="#1b1f27"/>"##));
    for (at, colour) in [(18, "#ff5f57"), (36, "#febc2e"), (54, "#28c840")] {
        put(format!(r#"<circle cx="{at}" cy="16" r="5.5" fill="{colour}"/>"#));
    }
    put(format!(r##"<text x="76" y="20" fill="#8b949e">{}</text>"##, escape(title)));
    for (at, line) in lines.iter().enumerate() {
        let y = TITLE_HEIGHT + MARGIN + at * LINE_HEIGHT;
        let colour = colour_of(line);
        put(format!(r#"<text x="{MARGIN}" y="{y}" fill="{colour}" xml:space="preserve">{}</text>"#, escape(line)));
    }
    put("</svg>".to_owned());
    svg
}

fn colour_of(line: &str) -> &'static str {
    if line.starts_with("$ ") {
        "#79c0ff"
    } else if line.contains("API is down") {
        "#ff7b72"
    } else if line.contains("API is up") {
        "#7ee787"
    } else {
        "#e6edf3"
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: markup in a line shows as text.
    #[test]
    fn lines_are_escaped() {
        let svg = terminal("t", &["a <b> & c".to_owned()]);
        assert!(svg.contains("a &lt;b&gt; &amp; c"), "{svg}");
    }
}
