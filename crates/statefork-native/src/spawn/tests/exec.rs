//! Further processes in containers.

use tokio::io::AsyncWriteExt;

use super::*;

#[tokio::test]
async fn an_exec_is_in_the_container() {
    let case = Case::new(STAY);
    let run = case.start().await;
    let command = "cat /layer; hostname; pwd; echo $HOME; \
        grep -E '^(CapEff|NoNew|Seccomp:)' /proc/self/status; ls /proc/self/fd | wc -l; echo e >&2";
    let (exit, output) = case.exec(&run, command).await;
    assert_eq!(exit, ExecExit::Code(0), "{output}");
    for line in [
        "topbox\n/elsewhere/here\n/root\n",
        "a80425fb",
        "NoNewPrivs:\t1",
        "4\n",
        "e\n",
    ] {
        assert!(output.contains(line), "{line}: {output}");
    }
    let cgroup = Cgroup::new(&case.plan.cgroup).unwrap();
    let (exit, _) = case.exec(&run, "kill -9 $$").await;
    assert_eq!(exit, ExecExit::Code(137));
    assert_eq!(cgroup.pids().unwrap().len(), 1);

    let mut plan = case.exec_plan(&run, "");
    plan.process.argv = vec!["nothing-here".into()];
    let absent = exec(&helper(), plan, false, None).await.unwrap();
    assert_eq!(finished(absent).await, (ExecExit::NotFound, String::new()));
    let mut plan = case.exec_plan(&run, "");
    plan.process.argv = vec!["/layer".into()];
    let data = exec(&helper(), plan, false, None).await.unwrap();
    assert_eq!(finished(data).await.0, ExecExit::NotExecutable);
    for spoil in [
        (|plan: &mut ExecPlan| plan.process.user = "nobody-here".into()) as fn(&mut ExecPlan),
        |plan| plan.process.workdir = "/not-there".into(),
        |plan| plan.process.workdir = "relative".into(),
    ] {
        let mut plan = case.exec_plan(&run, "true");
        spoil(&mut plan);
        let refused = exec(&helper(), plan, false, None).await.err();
        let kind = match refused {
            Some(StartError::Refused(failure)) => failure.kind,
            other => panic!("{other:?}"),
        };
        assert_eq!(kind, FailureKind::Setting);
    }
}

#[tokio::test]
async fn an_exec_reads_its_input_to_the_end() {
    let case = Case::new(STAY);
    let run = case.start().await;
    let plan = case.exec_plan(&run, "cat; cat /dev/stdin; echo end");
    let mut cat = exec(&helper(), plan, true, None).await.unwrap();
    let mut input = cat.input.take().unwrap();
    input.write_all(b"hello\n").await.unwrap();
    input.shutdown().await.unwrap();
    drop(input);
    assert_eq!(
        finished(cat).await,
        (ExecExit::Code(0), "hello\nend\n".into())
    );
}

#[tokio::test]
async fn an_exec_that_leaves_a_process_behind_has_ended() {
    let case = Case::new(STAY);
    let run = case.start().await;
    let plan = case.exec_plan(&run, "sleep 1000 & echo $!");
    let mut exec = exec(&helper(), plan, false, None).await.unwrap();
    assert_eq!(exec.control.wait().await.unwrap(), ExecExit::Code(0));
    let first = exec.output.next().await.unwrap().unwrap();
    assert_eq!(first.stream, Stream::Stdout);
    // As with docker: whoever is left behind holds nobody up.
    let end = tokio::time::timeout(LONG, exec.output.next()).await;
    assert!(end.unwrap().is_none());
    let pid = String::from_utf8(first.bytes.to_vec()).unwrap();
    case.exec(&run, &format!("kill {pid}")).await;
}

#[tokio::test]
async fn an_exec_has_a_terminal() {
    let case = Case::new(STAY);
    let run = case.start().await;
    let size = |rows, columns| TerminalSize { rows, columns };
    let plan = case.exec_plan(
        &run,
        "tty; stty size; read x; stty size; echo got $x > /dev/tty",
    );
    let mut shell = exec(&helper(), plan, true, Some(size(20, 60)))
        .await
        .unwrap();
    shell.control.resize(size(30, 70)).await.unwrap();
    let mut input = shell.input.take().unwrap();
    input.write_all(b"it\n").await.unwrap();
    let (exit, output) = finished(shell).await;
    assert_eq!(exit, ExecExit::Code(0), "{output}");
    for line in ["/dev/pts/0\r\n", "30 70\r\n", "got it\r\n"] {
        assert!(output.contains(line), "{line:?}: {output:?}");
    }
}

#[tokio::test]
async fn an_exec_into_a_container_that_has_ended_says_so() {
    let case = Case::new("true");
    let run = case.start().await;
    assert!(run.monitor.wait_end(LONG).await.unwrap());
    let size = TerminalSize {
        rows: 1,
        columns: 1,
    };
    for terminal in [None, Some(size)] {
        let plan = case.exec_plan(&run, "true");
        match exec(&helper(), plan, false, terminal).await.err() {
            Some(StartError::Refused(failure)) => {
                assert_eq!(failure.kind, FailureKind::NotRunning);
            }
            other => panic!("{other:?}"),
        }
    }
}
