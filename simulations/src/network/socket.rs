//! The one socket of a simulated node, as quinn sees it. The next breaking quinn changes this trait; this file is all that follows.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use super::{MachineId, Network};

/// A UDP socket of a simulated machine. It never refuses to send: what does not fit is lost on the way, as in the world.
pub(crate) struct SimulatedSocket {
    network: Network,
    machine: MachineId,
    address: SocketAddr,
}

impl SimulatedSocket {
    pub(super) fn new(network: Network, machine: MachineId, address: SocketAddr) -> Self {
        Self { network, machine, address }
    }
}

impl AsyncUdpSocket for SimulatedSocket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let size = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        for datagram in transmit.contents.chunks(size) {
            self.network.send(self.machine, self.address, transmit.destination, transmit.ecn, datagram);
        }
        Ok(())
    }

    fn poll_recv(&self, context: &mut Context<'_>, buffers: &mut [IoSliceMut<'_>], meta: &mut [RecvMeta]) -> Poll<io::Result<usize>> {
        let mut inner = self.network.lock();
        let Some(inbox) = inner.sockets.get_mut(&self.address).filter(|inbox| inbox.machine == Some(self.machine)) else {
            return Poll::Pending;
        };
        let mut read = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Some(parcel) = inbox.waiting.pop_front() else { break };
            inbox.waiting_bytes -= parcel.bytes.len();
            let len = parcel.bytes.len().min(buffer.len());
            buffer[..len].copy_from_slice(&parcel.bytes[..len]);
            *meta = RecvMeta { addr: parcel.from, len, stride: len.max(1), ecn: parcel.ecn, dst_ip: None };
            read += 1;
        }
        if read > 0 {
            return Poll::Ready(Ok(read));
        }
        inbox.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn max_transmit_segments(&self) -> usize {
        SEGMENTS_MAX
    }

    fn may_fragment(&self) -> bool {
        // quinn looks for the largest datagram only where it hears of those that are too large.
        false
    }
}

impl fmt::Debug for SimulatedSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimulatedSocket({})", self.address)
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// As many as Linux takes from quinn at once, about.
const SEGMENTS_MAX: usize = 10;
