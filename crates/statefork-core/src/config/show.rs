//! A configuration as `config show` prints it.

use serde::Serialize;
use serde_json::{Value, json};
use statefork_runtime::{Mount, MountSource, Network};

use super::value::show_duration;
use super::{Check, Config, Origin, Readiness};

/// What stands for the value of an environment variable.
const HIDDEN: &str = "<hidden>";

/// A value of a configuration, by its dotted key.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Shown {
    /// As in the file, levels joined with points.
    pub key: String,
    /// As the file would say it; null where it is left to the image or unlimited, and for an
    /// environment variable that the caller has not set.
    pub value: Value,
    /// Where it came from.
    pub origin: Origin,
}

impl Config {
    /// All values with their origins, in the order of the documentation. Values of environment
    /// variables are hidden.
    pub fn show(&self) -> Vec<Shown> {
        let mut values = Vec::new();
        let mut add = |key: &str, value: Value| {
            values.push(Shown {
                key: key.to_owned(),
                value,
                origin: self.origin(key),
            });
        };
        add("environment", json!(self.environment));
        add("runtime", json!(self.runtime));
        add("branch", json!(self.branch));
        add("home", json!(self.home));
        let application = &self.application;
        add("image", json!(application.image));
        if let Some(build) = &application.build {
            add("build.context", json!(build.context));
            add("build.dockerfile", json!(build.dockerfile));
            for (name, value) in &build.args {
                add(&format!("build.args.{name}"), json!(value));
            }
        }
        let spec = &application.spec;
        add("entrypoint", json!(spec.entrypoint));
        add("command", json!(spec.command));
        for variable in &spec.env {
            add(&format!("env.{}", variable.name), json!(HIDDEN));
        }
        for variable in &self.unset {
            add(&format!("env.{}", variable.name), Value::Null);
        }
        add("user", json!(spec.user));
        add("workdir", json!(spec.workdir));
        add("hostname", json!(spec.hostname));
        let ports = application.ports.iter().map(ToString::to_string);
        add("ports", ports.collect());
        add("mounts", spec.mounts.iter().map(mount).collect());
        add(
            "network",
            json!(match &spec.network {
                Network::Bridge => "bridge",
                Network::None => "none",
                Network::Host => "host",
                Network::Named(name) => name,
            }),
        );
        add("memory", json!(spec.limits.memory));
        add("cpus", json!(spec.limits.cpus));
        add("init", json!(spec.init));
        add("no_new_privileges", json!(spec.no_new_privileges));
        add("machine_id", json!(application.machine_id.as_str()));
        self.show_readiness(&mut add);
        let standby = self.standby.unwrap_or_default();
        add("standby.which", json!(standby.which.to_string()));
        add("standby.count", json!(standby.count));
        add("standby.memory", json!(self.standby_memory));
        add("hooks.after_restore", json!(self.hooks.after_restore));
        add("hooks.timeout", json!(show_duration(self.hooks.timeout)));
        add("stop.timeout", json!(show_duration(self.stop_timeout)));
        add("lock_timeout", json!(show_duration(self.lock_timeout)));
        add("freeze_timeout", json!(show_duration(self.freeze_timeout)));
        add("api_timeout", json!(show_duration(self.api_timeout)));
        for (name, socket) in &self.sockets {
            add(&format!("runtimes.{name}.socket"), json!(socket));
        }
        for (name, storage) in &self.storages {
            add(&format!("runtimes.{name}.storage"), json!(storage));
        }
        values
    }

    fn show_readiness(&self, add: &mut dyn FnMut(&str, Value)) {
        let readiness = Readiness::or_default(self.readiness.as_ref(), &self.application.ports);
        match &readiness.check {
            Check::Http { port, path } => {
                add("readiness.http.port", json!(port));
                add("readiness.http.path", json!(path));
            }
            Check::Tcp { port } => add("readiness.tcp.port", json!(port)),
            Check::Exec { command } => add("readiness.exec", json!(command)),
            Check::Log { contains } => add("readiness.log", json!(contains)),
            Check::None => add("readiness.none", json!(true)),
        }
        add("readiness.timeout", json!(show_duration(readiness.timeout)));
        add(
            "readiness.interval",
            json!(show_duration(readiness.interval)),
        );
    }
}

fn mount(mount: &Mount) -> Value {
    let source = match &mount.source {
        MountSource::Bind(path) => path.display().to_string(),
        MountSource::Volume(name) => name.clone(),
        MountSource::Tmpfs { size } => {
            return json!({
                "type": "tmpfs",
                "target": mount.target,
                "size": size,
                "read_only": mount.read_only,
            });
        }
    };
    json!({ "source": source, "target": mount.target, "read_only": mount.read_only })
}
