//! The live view: a page, its style and its script, which are in the program. They say nothing of the node; what they show they ask.

use super::admin::Admin;
use super::conn::Request;
use super::response::Response;

pub(super) fn page(_: &Admin, _: &Request) -> Response {
    Response::new("text/html; charset=utf-8", &include_bytes!("page/index.html")[..])
}

pub(super) fn style(_: &Admin, _: &Request) -> Response {
    Response::new("text/css; charset=utf-8", &include_bytes!("page/view.css")[..])
}

pub(super) fn script(_: &Admin, _: &Request) -> Response {
    Response::new("text/javascript; charset=utf-8", &include_bytes!("page/view.js")[..])
}

#[cfg(test)]
mod tests {
    /// What the policy forbids would not work, and what is asked elsewhere would tell others who looks at his node.
    #[test]
    fn the_page_has_nothing_inline_and_asks_nobody_else() {
        let (page, style, script) =
            (include_str!("page/index.html"), include_str!("page/view.css"), include_str!("page/view.js"));
        for bad in ["<style", " style=", "onclick", "onload", "javascript:", "<script>"] {
            assert!(!page.contains(bad), "{bad}");
        }
        for text in [page, style, script] {
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("url("));
        }
        for bad in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!script.contains(bad), "what strangers say is text: {bad}");
        }
    }
}
