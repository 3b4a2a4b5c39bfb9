//! `up`: bring the application up.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use statefork_core::config::{
    Application, Build, Config, Hooks, Sources, Standby, parse_cpus, parse_env, parse_env_file,
    parse_hostname, parse_image, parse_machine_id, parse_mount, parse_network, parse_port,
    parse_security_option, parse_size, parse_standby, parse_tmpfs, parse_user, parse_workdir,
    set_env,
};
use statefork_core::environment::{
    AttachRequest, Environment, ImageRequest, Requested, UpReport, UpRequest,
};
use statefork_runtime::{Mount, PortMapping, PortParseReason};

use crate::call::{Call, Opened};
use crate::documents::{Port, Took, ports};
use crate::failure::{Failure, Result};
use crate::text;

/// The file of a build context that says how to build.
const DOCKERFILE: &str = "Dockerfile";

/// Start the application and wait until it can be used
///
/// What is not given here comes from the configuration. Without either, an environment that exists
/// comes up as it was.
#[derive(Debug, Default, Args)]
#[command(
    after_help = "Example:\n  statefork up -p 8080:80 --env MODE=test IMAGE\n  statefork up --build \
                  . -p 0:8000 -- serve --port 8000"
)]
pub(crate) struct Up {
    /// An image that the runtime has
    #[arg(conflicts_with = "build")]
    image: Option<String>,
    /// Publish a port; the IP is 127.0.0.1 unless given, host port 0 is any free one
    #[arg(short, long, value_name = "[IP:]HOST:CONTAINER")]
    publish: Vec<String>,
    /// Set an environment variable; a name alone takes your value
    #[arg(long, value_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// Set the environment variables of a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Mount a path of the host or a volume; it is not part of a snapshot
    ///
    /// `type=tmpfs,target=PATH[,size=SIZE]` mounts memory, which is empty after a restore.
    #[arg(long, value_name = "SOURCE:TARGET[:ro]")]
    mount: Vec<String>,
    /// Mount memory, which is empty after a restore
    #[arg(long, value_name = "PATH[:size=SIZE]")]
    tmpfs: Vec<String>,
    /// The container's network: bridge, none or host
    #[arg(long)]
    network: Option<String>,
    /// Limit of memory, such as 512m
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// Limit of processors, such as 1.5
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<String>,
    /// The user that runs the application
    #[arg(long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The working directory in the container
    #[arg(long, value_name = "PATH")]
    workdir: Option<String>,
    /// The container's host name
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Run a process 1 above the application, which passes signals on and reaps orphans
    #[arg(long)]
    init: bool,
    /// Whether processes get no more rights by what they execute: no-new-privileges or
    /// no-new-privileges=false
    #[arg(long, value_name = "OPTION")]
    security_opt: Option<String>,
    /// From which snapshots a container is prepared ahead: none, head, recent:N or tags
    #[arg(long, value_name = "WHICH")]
    standby: Option<String>,
    /// Which /etc/machine-id each container has: image, as in the image, or new, one of its own
    #[arg(long, value_name = "image|new")]
    machine_id: Option<String>,
    /// Build the image from a folder with a Dockerfile first
    #[arg(long, value_name = "DIR")]
    build: Option<PathBuf>,
    /// Replace a container that has other settings; changes since the last snapshot are lost
    #[arg(long)]
    recreate: bool,
    /// Adopt a container that somebody else made, by name or id, with all its settings
    #[arg(
        long,
        value_name = "CONTAINER",
        conflicts_with_all = [
            "image", "build", "recreate", "publish", "env", "env_file", "mount", "tmpfs", "network",
            "memory", "cpus", "user", "workdir", "hostname", "init", "security_opt",
            "machine_id", "command",
        ]
    )]
    attach: Option<String>,
    /// The command, instead of the image's
    #[arg(last = true, value_name = "CMD")]
    command: Vec<String>,
}

#[derive(Serialize)]
struct UpDocument {
    branch: String,
    head: String,
    container: String,
    ports: Vec<Port>,
    already_up: bool,
    #[serde(flatten)]
    took: Option<Took>,
}

impl Up {
    /// Brings up and answers.
    pub(crate) async fn run(&self, call: &Call<'_>) -> Result<()> {
        // What cannot be read makes no home.
        let request = self.request(call)?;
        let opened = call.open()?;
        let report = match &self.attach {
            Some(container) => {
                let standby = self.standby(call.session.config()?)?;
                attach(call, &opened, container, standby).await?
            }
            None => bring_up(&opened, &request).await?,
        };
        let document = UpDocument {
            branch: report.branch.clone(),
            head: report.head.to_string(),
            container: report.container.to_string(),
            ports: ports(&report.ports),
            already_up: report.timing.is_none(),
            took: report.timing.as_ref().map(Into::into),
        };
        call.answer(|| &document, |_| shown(&opened.environment, &report))
    }

    /// Brings up and says so on standard error: for the shell, which was not asked to.
    pub(crate) async fn run_aside(&self, call: &Call<'_>, opened: &Opened) -> Result<()> {
        let report = bring_up(opened, &self.request(call)?).await?;
        let text = shown(&opened.environment, &report);
        call.session.output.remark(text.trim_end());
        Ok(())
    }

    fn request(&self, call: &Call<'_>) -> Result<UpRequest> {
        let config = call.session.config()?;
        Ok(UpRequest {
            application: self.requested(config, &call.session.sources()?)?,
            standby: self.standby(config)?,
            recreate: self.recreate,
        })
    }

    /// Whether the configuration says anything about the application.
    fn is_configured(config: &Config) -> bool {
        config.application != Application::default()
            || config.readiness.is_some()
            || config.hooks != Hooks::default()
            || !config.unset.is_empty()
    }

    fn has_settings(&self) -> bool {
        let Self {
            image,
            publish,
            env,
            env_file,
            mount,
            tmpfs,
            network,
            memory,
            cpus,
            user,
            workdir,
            hostname,
            init,
            security_opt,
            machine_id,
            build,
            recreate: _,
            standby: _,
            attach: _,
            command,
        } = self;
        let lists = [publish, env, mount, tmpfs, command];
        let options = [
            image,
            network,
            memory,
            cpus,
            user,
            workdir,
            hostname,
            security_opt,
            machine_id,
        ];
        lists.iter().any(|list| !list.is_empty())
            || options.iter().any(|option| option.is_some())
            || !env_file.is_empty()
            || build.is_some()
            || *init
    }

    /// The application that is asked for; `None`: as it was.
    fn requested(&self, config: &Config, sources: &Sources) -> Result<Option<Requested>> {
        if !self.has_settings() && !Self::is_configured(config) {
            return Ok(None);
        }
        config.require_variables()?;
        let mut spec = config.application.spec.clone();
        for file in &self.env_file {
            for variable in parse_env_file(file, &sources.env)? {
                set_env(&mut spec.env, variable);
            }
        }
        for text in &self.env {
            set_env(&mut spec.env, parse_env(text, &sources.env)?);
        }
        for text in &self.mount {
            set_mount(&mut spec.mounts, parse_mount(text, &sources.working_dir)?);
        }
        for text in &self.tmpfs {
            set_mount(&mut spec.mounts, parse_tmpfs(text)?);
        }
        if let Some(text) = &self.network {
            spec.network = parse_network(text)?;
        }
        if let Some(text) = &self.memory {
            spec.limits.memory = Some(parse_size(text)?);
        }
        if let Some(text) = &self.cpus {
            spec.limits.cpus = Some(parse_cpus(text)?);
        }
        if let Some(text) = &self.user {
            spec.user = Some(parse_user(text)?);
        }
        if let Some(text) = &self.workdir {
            spec.workdir = Some(parse_workdir(text)?);
        }
        if let Some(text) = &self.hostname {
            spec.hostname = Some(parse_hostname(text)?);
        }
        spec.init |= self.init;
        if let Some(text) = &self.security_opt {
            spec.no_new_privileges = Some(parse_security_option(text)?);
        }
        if !self.command.is_empty() {
            spec.command = Some(self.command.clone());
        }
        Ok(Some(Requested {
            image: self.image(config, &sources.working_dir)?,
            spec,
            ports: self.ports(config)?,
            readiness: config.readiness.clone(),
            hooks: config.hooks.clone(),
            machine_id: match &self.machine_id {
                Some(text) => parse_machine_id(text)?,
                None => config.application.machine_id,
            },
        }))
    }

    fn image(&self, config: &Config, working_dir: &Path) -> Result<Option<ImageRequest>> {
        let application = &config.application;
        Ok(match (&self.image, &self.build) {
            (Some(name), _) => Some(ImageRequest::Name(parse_image(name)?)),
            (None, Some(folder)) => Some(ImageRequest::Build(Build {
                context: folder_path(working_dir, folder),
                dockerfile: DOCKERFILE.to_owned(),
                args: Default::default(),
            })),
            (None, None) => match (&application.image, &application.build) {
                (Some(name), _) => Some(ImageRequest::Name(name.clone())),
                (None, Some(build)) => Some(ImageRequest::Build(build.clone())),
                (None, None) => None,
            },
        })
    }

    fn standby(&self, config: &Config) -> Result<Option<Standby>> {
        let mut standby = config.standby;
        if let Some(text) = &self.standby {
            standby.get_or_insert_default().which = parse_standby(text)?;
        }
        Ok(standby)
    }

    fn ports(&self, config: &Config) -> Result<Vec<PortMapping>> {
        if self.publish.is_empty() {
            return Ok(config.application.ports.clone());
        }
        self.publish.iter().map(|text| read_port(text)).collect()
    }
}

async fn bring_up(opened: &Opened, request: &UpRequest) -> Result<UpReport> {
    let work = opened.environment.up(request);
    Ok(opened.progress.during("bringing it up", work).await?)
}

async fn attach(
    call: &Call<'_>,
    opened: &Opened,
    container: &str,
    standby: Option<Standby>,
) -> Result<UpReport> {
    let config = call.session.config()?;
    let request = AttachRequest {
        container: container.to_owned(),
        readiness: config.readiness.clone(),
        standby,
        hooks: config.hooks.clone(),
        machine_id: config.application.machine_id,
    };
    Ok(opened.environment.attach(&request).await?)
}

/// The folder's absolute path, without `.` at its end, so that it is the same however it is written.
fn folder_path(working_dir: &Path, folder: &Path) -> PathBuf {
    working_dir.join(folder).components().collect()
}

fn read_port(text: &str) -> Result<PortMapping> {
    match text.parse::<PortMapping>() {
        Err(error) if error.reason() == PortParseReason::Protocol => Err(Failure::Protocol(error)),
        _ => Ok(parse_port(text)?),
    }
}

fn set_mount(mounts: &mut Vec<Mount>, mount: Mount) {
    match mounts.iter_mut().find(|known| known.target == mount.target) {
        Some(known) => *known = mount,
        None => mounts.push(mount),
    }
}

fn shown(environment: &Environment, report: &UpReport) -> String {
    let how = match &report.timing {
        None => "is up already".to_owned(),
        Some(timing) => format!("is up after {}", text::duration(timing.usable)),
    };
    let mut text = format!(
        "environment {:?} {how}: container {} on {}, head {}\n",
        environment.name(),
        report.container.short(),
        environment.runtime_name(),
        report.head
    );
    for port in &report.ports {
        let port = text::ports(std::slice::from_ref(port));
        text.push_str(&format!("  {port}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use statefork_runtime::MountSource;

    use super::*;

    fn sources(folder: &Path) -> Sources {
        Sources {
            config_file: None,
            working_dir: folder.to_owned(),
            env: [("HOME".into(), folder.into())].into(),
            uid: rustix::process::geteuid().as_raw(),
            flags: Default::default(),
            known_runtimes: &crate::runtimes::NAMES,
            embedded_runtimes: &crate::runtimes::EMBEDDED,
        }
    }

    fn requested(up: &Up, file: &str) -> Result<Option<Requested>> {
        let folder = tempfile::tempdir().unwrap();
        if !file.is_empty() {
            std::fs::write(folder.path().join("statefork.yaml"), file).unwrap();
        }
        let sources = sources(folder.path());
        up.requested(&Config::load(&sources).unwrap(), &sources)
    }

    #[test]
    fn without_a_word_about_the_application_it_comes_up_as_it_was() {
        assert_eq!(requested(&Up::default(), "").unwrap(), None);
        let asked = requested(&Up::default(), "image: app:1\n")
            .unwrap()
            .unwrap();
        assert_eq!(asked.image, Some(ImageRequest::Name("app:1".to_owned())));
    }

    #[test]
    fn flags_win_over_the_file() {
        let up = Up {
            build: Some("./app/.".into()),
            env: vec!["A=2".to_owned(), "C=3".to_owned()],
            publish: vec!["81:80".to_owned()],
            mount: vec!["other:/data:ro".to_owned()],
            tmpfs: vec!["/run:size=1m".to_owned()],
            init: true,
            security_opt: Some("no-new-privileges=false".to_owned()),
            command: vec!["serve".to_owned()],
            ..Up::default()
        };
        let file = "image: app:1\nenv: {A: '1', B: '1'}\nports: ['80:80']\nuser: app\n\
                    mounts: ['data:/data', {type: tmpfs, target: /run}]\n\
                    no_new_privileges: true\n";
        let asked = requested(&up, file).unwrap().unwrap();
        let Some(ImageRequest::Build(build)) = &asked.image else {
            panic!("{:?}", asked.image);
        };
        assert!(build.context.ends_with("app"), "{:?}", build.context);
        let env: Vec<_> = asked
            .spec
            .env
            .iter()
            .map(|v| (&*v.name, &*v.value))
            .collect();
        assert_eq!(env, [("A", "2"), ("B", "1"), ("C", "3")]);
        assert_eq!(asked.spec.user.as_deref(), Some("app"));
        let [data, run] = asked.spec.mounts.as_slice() else {
            panic!("{:?}", asked.spec.mounts);
        };
        assert!(data.read_only);
        let size = Some(1 << 20);
        assert_eq!(run.source, MountSource::Tmpfs { size });
        assert!(asked.spec.init);
        assert_eq!(asked.spec.no_new_privileges, Some(false));
        assert_eq!(asked.ports, [parse_port("81:80").unwrap()]);
        assert_eq!(asked.spec.command, Some(vec!["serve".to_owned()]));
    }

    #[test]
    fn a_udp_port_is_told_apart_from_a_wrong_one() {
        let publish = |text: &str| Up {
            publish: vec![text.to_owned()],
            ..Up::default()
        };
        let failure = |text| requested(&publish(text), "").unwrap_err();
        assert!(matches!(failure("53:53/udp"), Failure::Protocol(_)));
        assert!(matches!(failure("x:80"), Failure::Value(_)));
    }
}
