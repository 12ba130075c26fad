//! `processes`.

use super::table;

table! {
    /// A process that held a reported socket: one row when it is first seen to, one more each hour and whenever it
    /// became another program. Belongs to a flow of the same node whose `client_pid` or `server_pid` is its `pid`; of
    /// several, the newest that is not later than the flow's `end_time`.
    PROCESSES ProcessRow = "processes" sorted by ["node", "executable"];

    /// When it was seen to hold a socket.
    time: Time ["ns"] {};
    /// Name of the node whose probe saw it.
    node: Text [""] {otel: "k8s.node.name", ipfix: "exporter"};
    /// Process id, on its own node.
    pid: Int [""] {otel: "process.pid"};
    /// When the process began, to 10 ms. With `node` and `pid` it names a process for good. Null where it had ended
    /// before it was looked at, as are `executable` and `command_line`: `probe_health` counts these as
    /// `processes_gone`.
    start_time: OptTime ["ns"] {otel: "process.creation.time"};
    /// Name of the process (the kernel's `comm`, at most 15 bytes).
    process: Text [""] {otel: "process.executable.name"};
    /// Path of its executable, as in its own file system; ends in ` (deleted)` where the file is there no more. Null
    /// for kernel threads, and in other containers where the probe lacks `CAP_SYS_PTRACE`.
    executable: Text [""] {otel: "process.executable.path"};
    /// Its arguments, joined by spaces; of longer ones the first 4,096 bytes. What looks like a secret (values of `--password`,
    /// `TOKEN=`, `-p`, `Authorization:`, `user:…@` and such, long random words) was replaced by `***` before it left
    /// the node.
    command_line: Str [""] {otel: "process.command_line"};
    /// Container id.
    container: Text [""] {otel: "container.id"};
    /// Image of the container, as its runtime was asked for it. Null where the runtime's state on disk doesn't tell.
    image: Text [""] {otel: "container.image.name"};
    /// Name of the container: in its pod where there is one, else the runtime's.
    container_name: Text [""] {otel: "k8s.container.name"};
    /// UID of its pod.
    pod: Text [""] {otel: "k8s.pod.uid"};
    /// Name of its pod, where the container runtime's state tells.
    pod_name: Text [""] {otel: "k8s.pod.name"};
    /// Namespace of its pod, where the container runtime's state tells.
    namespace: Text [""] {otel: "k8s.namespace.name"};
    /// systemd unit, for processes outside of containers.
    workload: Text [""] {};
    /// Network namespace of the socket: its inode, as `ls -L -i /proc/PID/ns/net` shows it.
    netns: Int [""] {};
}
