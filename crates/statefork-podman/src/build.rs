//! Building images.
//!
//! The service answers 200 as soon as it begins; what became of the build is in the stream of JSON
//! documents that follows (libpod API, `ImageBuildLibpod`).

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use futures_util::{StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::Method;
use serde::Deserialize;
use statefork_runtime::{BuildRequest, ByteStream, ImageId, Result, RuntimeError};

use crate::PodmanRuntime;
use crate::cause::Cause;
use crate::fault::Fault;
use crate::name::ImageName;
use crate::raw::{Payload, query};

const BUILD: &str = "build an image";
/// How many lines of a failed build's output are kept.
const TAIL_LINES: usize = 20;
/// Length of an image's id.
const ID_DIGITS: usize = 64;

/// A document of the stream.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    error: Option<String>,
}

impl PodmanRuntime {
    pub(crate) async fn build(
        &self,
        request: BuildRequest,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ImageId> {
        let name = ImageName::parse(&request.name)?.to_string();
        let labels = serde_json::json!(request.labels).to_string();
        let args = serde_json::json!(request.args).to_string();
        // `layers` keeps a cache; the two others remove the containers of every step, also of the
        // failed one.
        let query = query(&[
            ("t", &name),
            ("dockerfile", &request.dockerfile),
            ("labels", &labels),
            ("buildargs", &args),
            ("layers", "true"),
            ("rm", "true"),
            ("forcerm", "true"),
        ]);
        let (context, failure) = watched(request.context);
        let sent = self
            .client
            .raw
            .send(
                Method::POST,
                &format!("/build{query}"),
                Payload::Tar(context),
            )
            .await;
        let mut lines = Lines::new(progress);
        let built = match sent {
            Ok(response) => read(response.into_body(), &mut lines).await,
            Err(fault) => Err(fault),
        };
        match (built, failure.get()) {
            (Ok(id), None) => Ok(id),
            (_, Some(reason)) => Err(lines.failed(format!("read the build context: {reason}"))),
            (Err(fault), None) => match &fault {
                Fault::Refused { cause, message, .. } if *cause != Cause::StorageFull => {
                    Err(lines.failed(message.clone()))
                }
                _ => Err(self.client.error(BUILD, fault)),
            },
        }
    }
}

/// A stream whose failure can be read afterwards: the service only sees that it broke off.
fn watched(stream: ByteStream) -> (ByteStream, Arc<OnceLock<String>>) {
    let failure = Arc::new(OnceLock::new());
    let seen = Arc::clone(&failure);
    let stream = stream.inspect_err(move |error| {
        seen.get_or_init(|| error.to_string());
    });
    (stream.boxed(), failure)
}

/// Reads the stream to its end; the id of the image, which is the last thing said.
async fn read(mut body: hyper::body::Incoming, lines: &mut Lines<'_>) -> Result<ImageId, Fault> {
    let mut pending = Vec::new();
    let mut error = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Fault::broken)?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        pending.extend_from_slice(&data);
        let mut events = serde_json::Deserializer::from_slice(&pending).into_iter::<Event>();
        let mut read = 0;
        while let Some(event) = events.next() {
            match event {
                Ok(event) => {
                    read = events.byte_offset();
                    if let Some(text) = event.stream {
                        lines.push(&text);
                    }
                    error = event.error.or(error);
                }
                // The rest of the document is on its way.
                Err(error) if error.is_eof() => break,
                Err(error) => return Err(Fault::broken(error)),
            }
        }
        pending.drain(..read);
    }
    lines.finish();
    match (error, lines.tail.back()) {
        (Some(error), _) => Err(Fault::refused(200, &error, "")),
        (None, Some(id)) if is_id(id) => Ok(ImageId::new(id.clone())),
        (None, _) => Err(Fault::broken("the build ended without naming an image")),
    }
}

fn is_id(line: &str) -> bool {
    line.len() == ID_DIGITS && line.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The builder's output as lines: passed on as they come, the last ones kept.
struct Lines<'a> {
    progress: &'a mut (dyn FnMut(&str) + Send),
    begun: String,
    tail: VecDeque<String>,
}

impl<'a> Lines<'a> {
    fn new(progress: &'a mut (dyn FnMut(&str) + Send)) -> Self {
        Self {
            progress,
            begun: String::new(),
            tail: VecDeque::new(),
        }
    }

    fn push(&mut self, text: &str) {
        self.begun.push_str(text);
        while let Some(end) = self.begun.find('\n') {
            let rest = self.begun.split_off(end + 1);
            let line = std::mem::replace(&mut self.begun, rest);
            self.line(line.trim_end());
        }
    }

    fn finish(&mut self) {
        let line = std::mem::take(&mut self.begun);
        if !line.is_empty() {
            self.line(line.trim_end());
        }
    }

    fn line(&mut self, line: &str) {
        (self.progress)(line);
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }

    fn failed(self, reason: String) -> RuntimeError {
        RuntimeError::BuildFailed {
            reason,
            tail: self.tail.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_become_lines_and_the_last_ones_are_kept() {
        let mut seen = Vec::new();
        let mut progress = |line: &str| seen.push(line.to_owned());
        let mut lines = Lines::new(&mut progress);
        lines.push("one\ntw");
        lines.push("o\r\n");
        for number in 0..TAIL_LINES {
            lines.push(&format!("{number}\n"));
        }
        lines.push("end");
        lines.finish();
        assert_eq!(lines.tail.len(), TAIL_LINES);
        assert_eq!(lines.tail.back().map(String::as_str), Some("end"));
        assert_eq!(seen[..3], ["one", "two", "0"]);
    }
}
