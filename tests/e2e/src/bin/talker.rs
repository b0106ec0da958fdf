//! The client of `exact`: has conversations with a server on one port, and tells on another, which nobody
//! watches, what it sends. A process of its own, because it must not serve.
//!
//! `talker <port> <port to tell on> <seed> <conversations>`

use std::io::{IoSlice, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::ioctl_fionread;
use rustix::net::sockopt::set_socket_linger;
use weft_e2e::exact::{Chance, Conversation, Ending, reply};

const LIMIT: Duration = Duration::from_secs(20);

fn main() -> Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut next = || Ok::<_, anyhow::Error>(numbers.next().context("four numbers")??);
    let (port, tell, seed, count) = (next()?, next()?, next()?, next()?);
    let mut told = TcpStream::connect((Ipv4Addr::LOCALHOST, u16::try_from(tell)?))?;
    let mut chance = Chance(seed | 1);
    for number in 0..count {
        // The first shows where requests go.
        let conversation = if number == 0 {
            Conversation::plain()
        } else {
            Conversation::any(&mut chance)
        };
        talk(&conversation, u16::try_from(port)?, &mut told, &mut chance)
            .with_context(|| format!("conversation {number} of seed {seed}"))?;
        if number == 0 {
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    Ok(())
}

fn talk(
    conversation: &Conversation,
    port: u16,
    told: &mut TcpStream,
    chance: &mut Chance,
) -> Result<()> {
    let bytes = conversation.bytes();
    told.write_all(&(bytes.len() as u64).to_le_bytes())?;
    told.write_all(&[u8::from(conversation.due), conversation.ending as u8])?;
    told.write_all(&bytes)?;
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_nodelay(chance.one_in(2))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    if chance.one_in(20) {
        std::thread::sleep(Duration::from_millis(2));
    }
    for piece in &conversation.pieces {
        if chance.one_in(3) {
            vectored(&mut stream, piece, chance)?;
        } else {
            stream.write_all(piece)?;
        }
        if chance.one_in(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    if conversation.ending == Ending::Reset {
        return Ok(set_socket_linger(&stream, Some(Duration::ZERO))?);
    }
    stream.shutdown(Shutdown::Write)?;
    let mut polled = [PollFd::new(&stream, PollFlags::IN)];
    let limit = rustix::event::Timespec::try_from(LIMIT)?;
    ensure!(poll(&mut polled, Some(&limit))? == 1, "no answer");
    let waiting = ioctl_fionread(&stream)?;
    ensure!(waiting > 0, "readable, and FIONREAD says {waiting}");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    ensure!(answer == reply(&bytes), "another answer than was sent");
    Ok(())
}

/// One send call of many pieces of memory; what it does not take goes the usual way.
fn vectored(stream: &mut TcpStream, piece: &[u8], chance: &mut Chance) -> Result<()> {
    let step = (1 + chance.below(piece.len())).max(piece.len().div_ceil(64));
    let slices: Vec<IoSlice<'_>> = piece.chunks(step).map(IoSlice::new).collect();
    let taken = stream.write_vectored(&slices)?;
    Ok(stream.write_all(&piece[taken..])?)
}
