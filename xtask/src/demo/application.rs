//! target-app as a client sees it: over HTTP, at the address of its branch.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hyper::Method;
use serde_json::json;

use crate::http::{Address, Answer, exchange};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// An address that the application is to answer on.
#[derive(Debug)]
pub(super) struct Application(pub(super) SocketAddr);

impl Application {
    /// At a port that is free now.
    pub(super) fn at_free_port() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        Ok(Self(listener.local_addr()?))
    }

    /// The id that is new with every process of the application.
    pub(super) fn instance(&self) -> Result<String> {
        let answer = self.ok(Method::GET, "/health", "", vec![])?;
        let instance = answer.json()?["instance"].as_str().map(ToOwned::to_owned);
        instance.context("/health names no instance")
    }

    /// A key's value, which is in the process's memory; `None` where there is no such key.
    pub(super) fn key(&self, key: &str) -> Result<Option<String>> {
        let answer = self.ask(Method::GET, &format!("/keys/{key}"), "", vec![])?;
        if answer.status == 404 {
            return Ok(None);
        }
        ensure!(
            answer.status == 200,
            "/keys/{key} answers {}",
            answer.status
        );
        Ok(answer.json()?["value"].as_str().map(ToOwned::to_owned))
    }

    /// Sets a key.
    pub(super) fn set_key(&self, key: &str, value: &str) -> Result<()> {
        let body = json!({ "value": value }).to_string().into_bytes();
        self.ok(
            Method::PUT,
            &format!("/keys/{key}"),
            "application/json",
            body,
        )?;
        println!("  PUT /keys/{key} {value:?}");
        Ok(())
    }

    /// A file's content; `None` where there is no such file.
    pub(super) fn file(&self, name: &str) -> Result<Option<String>> {
        let answer = self.ask(Method::GET, &format!("/files/{name}"), "", vec![])?;
        if answer.status == 404 {
            return Ok(None);
        }
        ensure!(
            answer.status == 200,
            "/files/{name} answers {}",
            answer.status
        );
        Ok(Some(answer.text()))
    }

    /// Writes a file.
    pub(super) fn write_file(&self, name: &str, content: &str) -> Result<()> {
        let body = content.as_bytes().to_vec();
        self.ok(Method::PUT, &format!("/files/{name}"), "text/plain", body)?;
        println!("  PUT /files/{name} {content:?}");
        Ok(())
    }

    /// Whether nothing listens on its address any more.
    pub(super) fn is_gone(&self) -> bool {
        std::net::TcpStream::connect_timeout(&self.0, PATIENCE).is_err()
    }

    fn ok(&self, method: Method, path: &str, kind: &str, body: Vec<u8>) -> Result<Answer> {
        let answer = self.ask(method, path, kind, body)?;
        ensure!(
            answer.status == 200,
            "{path} answers {}: {}",
            answer.status,
            answer.text()
        );
        Ok(answer)
    }

    fn ask(&self, method: Method, path: &str, kind: &str, body: Vec<u8>) -> Result<Answer> {
        let kind = if kind.is_empty() { "text/plain" } else { kind };
        exchange(&Address::Tcp(self.0), method, path, (kind, body), PATIENCE)
            .with_context(|| format!("failed to ask the application on {}", self.0))
    }
}
