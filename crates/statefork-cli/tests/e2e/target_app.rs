//! target-app, as a client of it sees it.

use std::net::SocketAddr;

use serde_json::Value;

use crate::http::{self, Answer};
use crate::world::text;

/// target-app, at the branch's address.
#[derive(Clone, Copy)]
pub(crate) struct App(pub(crate) SocketAddr);

impl App {
    /// Where a document of `up` or `restore` says that it is.
    pub(crate) fn of(document: &Value) -> Self {
        let port = document["ports"][0]["host"].as_u64();
        let port = port.unwrap_or_else(|| panic!("no port in {document}"));
        Self(SocketAddr::from((
            [127, 0, 0, 1],
            u16::try_from(port).unwrap(),
        )))
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        http::request(self.0, "GET", path, b"").unwrap()
    }

    pub(crate) fn set_key(&self, key: &str, value: &str) {
        let body = serde_json::json!({ "value": value }).to_string();
        let answer = http::request(self.0, "PUT", &format!("/keys/{key}"), body.as_bytes());
        assert_eq!(answer.unwrap().status, 200);
    }

    pub(crate) fn key(&self, key: &str) -> Option<String> {
        let answer = self.get(&format!("/keys/{key}"));
        (answer.status == 200).then(|| text(&answer.json()["value"]))
    }

    pub(crate) fn write_file(&self, name: &str, content: &str) {
        let path = format!("/files/{name}");
        let answer = http::request(self.0, "PUT", &path, content.as_bytes());
        assert_eq!(answer.unwrap().status, 200);
    }

    pub(crate) fn file(&self, name: &str) -> Option<String> {
        let answer = self.get(&format!("/files/{name}"));
        (answer.status == 200).then(|| String::from_utf8(answer.body).unwrap())
    }

    /// Another process has another one.
    pub(crate) fn instance(&self) -> String {
        text(&self.get("/health").json()["instance"])
    }
}
