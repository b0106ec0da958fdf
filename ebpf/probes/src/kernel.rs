//! Kernel structures, by offsets that the loader reads from the running kernel's BTF (Rust emits
//! no CO-RE records). An offset of [`ABSENT`] means that this kernel has no such field.

use core::ffi::c_void;

use aya_ebpf::{Global, helpers::bpf_probe_read_kernel};

/// Value of an offset for a field that this kernel does not have.
pub(crate) const ABSENT: u32 = u32::MAX;

macro_rules! offsets {
    ($($(#[doc = $doc:literal])* $name:ident,)+) => {
        $($(#[doc = $doc])* #[unsafe(no_mangle)] pub(crate) static $name: Global<u32> = Global::new(ABSENT);)+
    };
}

offsets! {
    /// `struct sock`: u16.
    SOCK_FAMILY,
    /// `struct sock`: u16, `SOCK_STREAM` is 1.
    SOCK_TYPE,
    /// `struct sock`: u8, `RCV_SHUTDOWN` is 1.
    SOCK_SHUTDOWN,
    /// `struct sock`: int, an errno.
    SOCK_ERR,
    /// `struct sock`: u8, `include/net/tcp_states.h`.
    SOCK_STATE,
    /// `struct sock`: u16, host order.
    SOCK_LOCAL_PORT,
    /// `struct sock`: u16, network order.
    SOCK_REMOTE_PORT,
    /// `struct sock`: 4 bytes.
    SOCK_LOCAL_V4,
    SOCK_REMOTE_V4,
    /// `struct sock`: 16 bytes.
    SOCK_LOCAL_V6,
    SOCK_REMOTE_V6,
    /// `struct sock`: `struct net *`.
    SOCK_NET,
    /// `struct net`: u32, inode number of the namespace.
    NET_INUM,
    /// `struct sock`: `struct socket *`.
    SOCK_SOCKET,
    /// `struct socket`: `struct file *`.
    SOCKET_FILE,
    /// `struct socket`: `struct sock *`.
    SOCKET_SOCK,
    /// `struct file`: set while an epoll instance watches the file (Linux 5.11).
    FILE_EPOLL,
    /// `struct file`: `struct inode *`.
    FILE_INODE,
    /// `struct inode`: u64.
    INODE_NUMBER,
    /// `struct tcp_sock`: u32 each.
    TCP_WRITE_SEQ,
    TCP_COPIED_SEQ,
    TCP_SND_UNA,
    TCP_RCV_NXT,
    /// `struct tcp_sock`: u64 each.
    TCP_BYTES_ACKED,
    TCP_BYTES_RECEIVED,
    /// `struct inet_connection_sock`: set on sockets that something stands on (MPTCP, kernel TLS, SMC).
    ICSK_ULP_OPS,
    /// `struct sock`: i32, bytes.
    SOCK_SNDBUF,
    /// `struct unix_sock`: `struct sock *`.
    UNIX_PEER,
    /// `struct task_struct`: u32 each.
    TASK_FLAGS,
    TASK_PID,
    TASK_TGID,
    /// `struct task_struct`: 16 bytes.
    TASK_COMM,
    /// `struct task_struct`: `thread_info.status`, u32; bit 1 marks a 32-bit call (x86).
    TASK_STATUS,
    /// `struct task_struct`: `thread.fsbase`, u64: the thread pointer of user space (x86).
    TASK_FSBASE,
}

/// A field of a pointer that the verifier knows as a kernel structure: a plain load, which yields 0
/// where the memory is gone.
///
/// # Safety
/// `base` must come from the hook's arguments or from another `load`, so that the verifier lets
/// only offsets of real fields pass.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(base: *const c_void, offset: &Global<u32>) -> T {
    // SAFETY: checked by the verifier against the kernel's own type information.
    unsafe {
        base.cast::<u8>()
            .add(offset.load() as usize)
            .cast::<T>()
            .read_volatile()
    }
}

/// A field behind any kernel pointer, copied with fault handling. 0 bytes when unreadable or absent.
#[inline(always)]
pub(crate) fn copy<T: Copy>(base: *const c_void, offset: &Global<u32>, absent: T) -> T {
    if offset.load() == ABSENT {
        return absent;
    }
    // SAFETY: the helper checks the address.
    unsafe {
        bpf_probe_read_kernel(
            base.cast::<u8>()
                .wrapping_add(offset.load() as usize)
                .cast::<T>(),
        )
    }
    .unwrap_or(absent)
}
