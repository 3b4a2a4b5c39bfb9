//! The structure of `report.html`, by parsing it as a browser does.

use scraper::{ElementRef, Html, Selector};

use super::super::report::tests::made_up;
use super::*;

fn page() -> Html {
    let page = Html::parse_document(&render(&made_up(1.0, &[1, 50])));
    assert!(page.errors.is_empty(), "{:?}", page.errors);
    page
}

fn all<'p>(page: &'p Html, selector: &str) -> Vec<ElementRef<'p>> {
    page.select(&Selector::parse(selector).unwrap()).collect()
}

fn text(element: &ElementRef<'_>) -> String {
    element.text().collect::<String>().trim().to_owned()
}

#[test]
fn nothing_is_run_and_nobody_is_asked() {
    let page = page();
    for forbidden in [
        "script", "link", "iframe", "img", "object", "embed", "base", "form",
    ] {
        assert!(all(&page, forbidden).is_empty(), "{forbidden}");
    }
    for element in all(&page, "*") {
        for (name, value) in element.value().attrs() {
            assert!(!name.starts_with("on"), "{name}");
            let leads = [
                "src",
                "srcset",
                "href",
                "xlink:href",
                "action",
                "data",
                "style",
            ];
            assert!(!leads.contains(&name), "{name}={value}");
        }
    }
    let style: String = all(&page, "style").iter().map(text).collect();
    assert!(
        !style.contains("url(") && !style.contains("@import"),
        "{style}"
    );
}

#[test]
fn it_is_for_narrow_screens_and_for_light_and_dark() {
    let page = page();
    let viewport = all(&page, "head meta[name=viewport]");
    let content = viewport[0].value().attr("content").unwrap();
    assert!(content.contains("width=device-width"), "{content}");
    assert!(text(&all(&page, "style")[0]).contains("prefers-color-scheme: dark"));
    assert_eq!(all(&page, "html")[0].value().attr("lang"), Some("en"));
    // A wide table scrolls in its own box.
    assert_eq!(all(&page, "table").len(), all(&page, ".wide > table").len());
}

#[test]
fn every_picture_has_a_title_and_every_table_a_head() {
    let page = page();
    let pictures = all(&page, "svg");
    // Strips for 8 cells, phases of each, and 4 against depth.
    assert_eq!(pictures.len(), 8 + 8 + 4);
    let mut ids = Vec::new();
    for picture in pictures {
        let title = picture.children().find_map(ElementRef::wrap).unwrap();
        assert_eq!(title.value().name(), "title");
        assert!(!text(&title).is_empty());
        let id = title.value().attr("id").unwrap();
        assert_eq!(picture.value().attr("aria-labelledby"), Some(id));
        assert_eq!(picture.value().attr("role"), Some("img"));
        assert!(!ids.contains(&id), "{id} twice");
        ids.push(id);
    }
    for table in all(&page, "table") {
        let part = |selector: &str| -> Vec<ElementRef<'_>> {
            table.select(&Selector::parse(selector).unwrap()).collect()
        };
        let head = part("thead > tr > th[scope=col]").len();
        assert!(head > 0 && part("caption").len() == 1);
        let rows = part("tbody > tr");
        assert!(!rows.is_empty());
        let cell = Selector::parse("td").unwrap();
        assert!(rows.iter().all(|row| row.select(&cell).count() == head));
    }
}

#[test]
fn distributions_show_every_sample() {
    let page = page();
    let first = all(&page, "figure svg")[0];
    let points = first.select(&Selector::parse("circle").unwrap()).count();
    assert_eq!(points, 3 * 10, "three tools, ten samples each");
}

#[test]
fn what_others_wrote_is_text() {
    let page = page();
    let cells: Vec<String> = all(&page, "td").iter().map(text).collect();
    let skipped = "<other>: failed to reach \"it\" & more";
    assert!(cells.iter().any(|cell| cell == skipped));
}
