//! Kernel fields that the probes read: their names there, and where they stand here.

use super::kernel_btf::KernelBtf;

/// Whether weft can do without a field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Always,
    /// Absence switches off what the text says.
    Switches(&'static str),
}

pub(crate) struct Field {
    /// Name of the `Global` in `ebpf/probes/src/kernel.rs`.
    pub(crate) global: &'static str,
    structure: &'static str,
    path: &'static str,
    pub(crate) need: Need,
}

const fn field(global: &'static str, structure: &'static str, path: &'static str) -> Field {
    Field {
        global,
        structure,
        path,
        need: Need::Always,
    }
}

const fn optional(
    global: &'static str,
    structure: &'static str,
    path: &'static str,
    what: &'static str,
) -> Field {
    Field {
        global,
        structure,
        path,
        need: Need::Switches(what),
    }
}

pub(crate) const FIELDS: &[Field] = &[
    field("SOCK_FAMILY", "sock", "__sk_common.skc_family"),
    field("SOCK_TYPE", "sock", "sk_type"),
    field("SOCK_SHUTDOWN", "sock", "sk_shutdown"),
    field("SOCK_ERR", "sock", "sk_err"),
    field("SOCK_STATE", "sock", "__sk_common.skc_state"),
    field("SOCK_LOCAL_PORT", "sock", "__sk_common.skc_num"),
    field("SOCK_REMOTE_PORT", "sock", "__sk_common.skc_dport"),
    field("SOCK_LOCAL_V4", "sock", "__sk_common.skc_rcv_saddr"),
    field("SOCK_REMOTE_V4", "sock", "__sk_common.skc_daddr"),
    optional(
        "SOCK_LOCAL_V6",
        "sock",
        "__sk_common.skc_v6_rcv_saddr",
        "IPv6 addresses",
    ),
    optional(
        "SOCK_REMOTE_V6",
        "sock",
        "__sk_common.skc_v6_daddr",
        "IPv6 addresses",
    ),
    field("SOCK_NET", "sock", "__sk_common.skc_net"),
    field("NET_INUM", "net", "ns.inum"),
    field("SOCK_SOCKET", "sock", "sk_socket"),
    field("SOCKET_FILE", "socket", "file"),
    field("SOCKET_SOCK", "socket", "sk"),
    optional(
        "FILE_EPOLL",
        "file",
        "f_ep",
        "links inside blocking workers",
    ),
    field("FILE_INODE", "file", "f_inode"),
    field("INODE_NUMBER", "inode", "i_ino"),
    field("TCP_WRITE_SEQ", "tcp_sock", "write_seq"),
    field("TCP_COPIED_SEQ", "tcp_sock", "copied_seq"),
    field("TCP_SND_UNA", "tcp_sock", "snd_una"),
    field("TCP_RCV_NXT", "tcp_sock", "rcv_nxt"),
    field("TCP_BYTES_ACKED", "tcp_sock", "bytes_acked"),
    field("TCP_BYTES_RECEIVED", "tcp_sock", "bytes_received"),
    optional(
        "ICSK_ULP_OPS",
        "inet_connection_sock",
        "icsk_ulp_ops",
        "telling sockets apart that are not plain TCP",
    ),
    field("SOCK_SNDBUF", "sock", "sk_sndbuf"),
    optional("UNIX_PEER", "unix_sock", "peer", "links over unix sockets"),
    field("TASK_FLAGS", "task_struct", "flags"),
    field("TASK_PID", "task_struct", "pid"),
    field("TASK_TGID", "task_struct", "tgid"),
    field("TASK_COMM", "task_struct", "comm"),
    optional(
        "TASK_STATUS",
        "task_struct",
        "thread_info.status",
        "telling 32-bit callers apart",
    ),
    optional(
        "TASK_FSBASE",
        "task_struct",
        "thread.fsbase",
        "links between tasks of CPython",
    ),
];

impl Field {
    pub(crate) fn offset(&self, btf: &KernelBtf) -> Option<u32> {
        btf.offset(self.structure, self.path)
    }

    /// `struct.path`, for messages.
    pub(crate) fn name(&self) -> String {
        format!("{}.{}", self.structure, self.path)
    }
}
