//! Network namespaces and TUN devices: everything that takes system calls without a safe wrapper is in this file.

#![expect(unsafe_code, reason = "ioctl(2), unshare(2), sched_setscheduler(2) and what runs between fork and exec have no safe wrapper")]

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// A network of its own, with a loopback and one TUN device. It has no name: it lives as long as this value, or a process in it.
#[derive(Debug)]
pub(super) struct Namespace {
    handle: OwnedFd,
}

/// What goes out of a namespace is read here, and what is written comes into it: one IP packet each time. Never blocks.
#[derive(Debug)]
pub(super) struct Tun {
    device: File,
}

impl Namespace {
    /// Makes a namespace whose one address this is; everything in the network of that mask is reached through the device.
    pub(super) fn new(address: Ipv4Addr, netmask: Ipv4Addr, mtu_bytes: u16) -> io::Result<(Self, Tun)> {
        // What a thread unshares is its own: this one ends with it, and leaves the namespace behind.
        on_a_thread(|| {
            // SAFETY: file descriptors stay shared, which is what the flag in question would change.
            unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
            let handle = File::open("/proc/thread-self/ns/net")?.into();
            set_up(c"lo")?;
            let tun = Tun::new()?;
            configure(DEVICE, address, netmask, mtu_bytes)?;
            set_up(DEVICE)?;
            Ok((Self { handle }, tun))
        })
    }

    /// Does something, as making a socket, from inside.
    pub(super) fn within<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        on_a_thread(|| {
            move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        })
    }

    /// Lets a command run inside. It is killed when the thread that starts it ends before it: nothing outlives a lab that was killed.
    pub(super) fn hold(&self, command: &mut Command) -> io::Result<()> {
        let handle = self.handle.try_clone()?;
        let enter = move || {
            move_into_link_name_space(handle.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
        };
        // SAFETY: between fork and exec nothing may be allocated or locked; these are two system calls.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }
}

impl Tun {
    /// Makes the device in the namespace of the calling thread (Linux: Documentation/networking/tuntap.rst).
    fn new() -> io::Result<Self> {
        let device = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open("/dev/net/tun")?;
        let flags = i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).expect("the flags are 16 bits wide");
        ask(&device, libc::TUNSETIFF, request(DEVICE, libc::__c_anonymous_ifr_ifru { ifru_flags: flags }))?;
        Ok(Self { device })
    }

    /// The device, to be read, written and waited for.
    pub(super) fn device(&self) -> &File {
        &self.device
    }
}

/// Lets this thread go before ordinary ones whenever it has something to do. Fails without the right to.
pub(super) fn hurry() -> io::Result<()> {
    // SAFETY: all zeroes are a value of this structure of integers, and the call only reads it.
    let result = unsafe {
        let mut parameters: libc::sched_param = std::mem::zeroed();
        parameters.sched_priority = 1;
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn configure(device: &std::ffi::CStr, address: Ipv4Addr, netmask: Ipv4Addr, mtu_bytes: u16) -> io::Result<()> {
    let socket = any_socket()?;
    let integer = |value| libc::__c_anonymous_ifr_ifru { ifru_mtu: value };
    let socket_address = |address| libc::__c_anonymous_ifr_ifru { ifru_addr: internet(address) };
    ask(&socket, libc::SIOCSIFMTU, request(device, integer(mtu_bytes.into())))?;
    ask(&socket, libc::SIOCSIFTXQLEN, request(device, integer(QUEUE_PACKETS)))?;
    ask(&socket, libc::SIOCSIFADDR, request(device, socket_address(address)))?;
    ask(&socket, libc::SIOCSIFNETMASK, request(device, socket_address(netmask)))
}

fn set_up(device: &std::ffi::CStr) -> io::Result<()> {
    let flags = i16::try_from(libc::IFF_UP | libc::IFF_RUNNING).expect("the flags are 16 bits wide");
    ask(&any_socket()?, libc::SIOCSIFFLAGS, request(device, libc::__c_anonymous_ifr_ifru { ifru_flags: flags }))
}

/// Devices are configured through a socket of any kind: which one says in whose namespace.
fn any_socket() -> io::Result<UdpSocket> {
    UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
}

fn request(device: &std::ffi::CStr, value: libc::__c_anonymous_ifr_ifru) -> libc::ifreq {
    let mut name = [0; libc::IFNAMSIZ];
    for (to, from) in name.iter_mut().zip(device.to_bytes()) {
        *to = from.cast_signed();
    }
    libc::ifreq { ifr_name: name, ifr_ifru: value }
}

/// An address as the system wants it: a `sockaddr_in` (ip(7)) in the room of a `sockaddr`.
fn internet(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0; 14];
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from.cast_signed();
    }
    libc::sockaddr { sa_family: u16::try_from(libc::AF_INET).expect("address families are 16 bits wide"), sa_data: data }
}

fn ask(file: &impl AsRawFd, what: libc::Ioctl, mut request: libc::ifreq) -> io::Result<()> {
    // SAFETY: each of the requests of this file reads and writes one `ifreq`, which lives until the call is over.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), what, &raw mut request) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("lab-enter".to_owned()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The device's name, the same in each namespace.
const DEVICE: &std::ffi::CStr = c"caps0";

/// Packets that wait for being read from a device: 50 ms of full packets at 1 Gbit/s.
const QUEUE_PACKETS: i32 = 4096;
