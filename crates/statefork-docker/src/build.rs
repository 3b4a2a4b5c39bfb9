//! Building images, with the daemon's own builder.

use std::collections::VecDeque;

use bollard::models::BuildInfo;
use bollard::query_parameters::BuildImageOptions;
use futures_util::StreamExt;
use statefork_runtime::{BuildRequest, ImageId, Images, ObjectKind, Result, RuntimeError};

use crate::{DockerRuntime, names};

/// How many lines of the builder's output go with an error.
const TAIL_LINES: usize = 20;

impl DockerRuntime {
    pub(crate) async fn build(
        &self,
        request: BuildRequest,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<ImageId> {
        let op = "build the image";
        names::new_image_name(&request.name)?;
        let options = BuildImageOptions {
            dockerfile: request.dockerfile,
            t: Some(request.name.clone()),
            // The container of a failing step, too, which the builder leaves otherwise.
            rm: true,
            forcerm: true,
            buildargs: Some(request.args.into_iter().collect()),
            labels: Some(request.labels.into_iter().collect()),
            ..BuildImageOptions::default()
        };
        let docker = self.client.docker()?;
        let context = bollard::body_try_stream(request.context);
        let mut answer = docker.build_image(options, None, Some(context));
        let mut output = Lines::default();
        let mut id = None;
        while let Some(part) = answer.next().await {
            let part = match part {
                Ok(part) => part,
                Err(error) => {
                    let failure = self.client.failure(op, error.into());
                    output.finish(progress);
                    return Err(match failure.said() {
                        Some(reason) if failure.is_refusal() => RuntimeError::BuildFailed {
                            reason: reason.to_owned(),
                            tail: output.tail.into(),
                        },
                        _ => failure.into(),
                    });
                }
            };
            output.add(&text(&part), progress);
            id = part.aux.and_then(|aux| aux.id).or(id);
        }
        output.finish(progress);
        if let Some(id) = id {
            return Ok(ImageId::new(id));
        }
        let built = self.inspect_image(&request.name).await?;
        built.map(|image| image.id).ok_or(RuntimeError::NotFound {
            object: ObjectKind::Image,
            name: request.name,
        })
    }
}

/// What a part of the answer has to say; a pull's progress bars say nothing.
fn text(part: &BuildInfo) -> String {
    match (&part.stream, &part.status, &part.progress_detail) {
        (Some(stream), _, _) => stream.clone(),
        (None, Some(status), None) => match &part.id {
            Some(id) => format!("{id}: {status}\n"),
            None => format!("{status}\n"),
        },
        _ => String::new(),
    }
}

/// Puts lines together, passes them on, and remembers the last ones.
#[derive(Default)]
struct Lines {
    begun: String,
    tail: VecDeque<String>,
}

impl Lines {
    fn add(&mut self, text: &str, progress: &mut (dyn FnMut(&str) + Send)) {
        self.begun.push_str(text);
        while let Some(end) = self.begun.find('\n') {
            let rest = self.begun.split_off(end + 1);
            let line = std::mem::replace(&mut self.begun, rest);
            self.pass(line.trim_end(), progress);
        }
    }

    fn finish(&mut self, progress: &mut (dyn FnMut(&str) + Send)) {
        let line = std::mem::take(&mut self.begun);
        self.pass(line.trim_end(), progress);
    }

    fn pass(&mut self, line: &str, progress: &mut (dyn FnMut(&str) + Send)) {
        if line.is_empty() {
            return;
        }
        progress(line);
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_and_the_last_ones_kept() {
        let mut seen = Vec::new();
        let mut lines = Lines::default();
        let mut progress = |line: &str| seen.push(line.to_owned());
        lines.add("Step 1/2", &mut progress);
        lines.add(" : FROM x\n\n", &mut progress);
        for n in 0..TAIL_LINES {
            lines.add(&format!("line {n}\r\n"), &mut progress);
        }
        lines.add("end", &mut progress);
        lines.finish(&mut progress);
        assert_eq!(seen[0], "Step 1/2 : FROM x");
        assert_eq!(seen.len(), TAIL_LINES + 2);
        assert_eq!(lines.tail.len(), TAIL_LINES);
        assert_eq!(lines.tail[0], "line 1");
        assert_eq!(lines.tail[TAIL_LINES - 1], "end");
    }
}
