//! What a probe costs on this machine, by the kind of instruction that it stands on: measured on
//! code of weft's own.

use std::{arch::global_asm, fmt, fs, io, time::Instant};

use weft_abi::Site;

use super::user::{Hook, Place, UserProbes};

global_asm!(
    ".text",
    ".balign 64",
    "weft_site_emulated: nop",
    "ret",
    ".balign 64",
    "weft_site_stepped: mov eax, 1",
    "ret",
    ".balign 64",
    "weft_site_return: nop",
    "ret",
);

unsafe extern "C" {
    fn weft_site_emulated();
    fn weft_site_stepped();
    fn weft_site_return();
}

/// Time of one call less that of the same without a probe, ns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiteCosts {
    /// The kernel does the instruction's work itself.
    pub(crate) emulated: f64,
    /// The instruction runs elsewhere, under single step.
    pub(crate) stepped: f64,
    /// The function's return is diverted.
    pub(crate) returning: f64,
}

const ROUNDS: u32 = 5;
const CALLS: u32 = 2_000;

impl SiteCosts {
    /// # Errors
    /// What the kernel said to a probe in weft's own file.
    pub(crate) fn measure(probes: &mut UserProbes) -> io::Result<Self> {
        let mut cost = |hook, function: unsafe extern "C" fn()| -> io::Result<f64> {
            let without = time(function);
            let place = Place {
                hook,
                offset: offset_in_file(function as usize as u64)?,
                site: Site::from_cookie(0),
            };
            let _attached = probes.attach(&fs::File::open("/proc/self/exe")?, &[place])?;
            Ok((time(function) - without).max(0.0))
        };
        Ok(Self {
            emulated: cost(Hook::Enter, weft_site_emulated)?,
            stepped: cost(Hook::Enter, weft_site_stepped)?,
            returning: cost(Hook::Return, weft_site_return)?,
        })
    }
}

impl fmt::Display for SiteCosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.0} ns on an instruction that the kernel emulates, {:.0} ns on another, {:.0} ns at a return",
            self.emulated, self.stepped, self.returning
        )
    }
}

/// Of one call, ns: the best of some rounds, because others use the machine too.
fn time(function: unsafe extern "C" fn()) -> f64 {
    let round = |_| {
        let begin = Instant::now();
        for _ in 0..CALLS {
            // SAFETY: one of the functions above, which take and change nothing.
            unsafe { function() };
        }
        begin.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS)
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

/// Where the code at an address of this process stands in its file.
fn offset_in_file(address: u64) -> io::Result<u64> {
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    fs::read_to_string("/proc/self/maps")?
        .lines()
        .find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (start, end) = fields.next()?.split_once('-')?;
            let (start, end) = (number(start)?, number(end)?);
            let offset = number(fields.nth(1)?)?;
            (start..end)
                .contains(&address)
                .then(|| address - start + offset)
        })
        .ok_or_else(|| io::Error::other("weft's own code is not in its own map"))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Attached, Options, Probes, Way},
        *,
    };

    global_asm!(
        ".text",
        ".balign 64",
        "weft_site_row: .rept 170",
        "nop",
        ".endr",
        "ret"
    );

    unsafe extern "C" {
        fn weft_site_row();
    }

    /// `cargo test --package weft probes_come_and_go -- --ignored --nocapture`, as root.
    #[test]
    #[ignore = "needs root; half a minute for the figures, which it prints"]
    fn probes_come_and_go() {
        const COUNTS: [u64; 3] = [1, 50, 170];
        let first =
            offset_in_file(weft_site_row as unsafe extern "C" fn() as usize as u64).unwrap();
        let file = fs::File::open("/proc/self/exe").unwrap();
        let ms = |begun: Instant| begun.elapsed().as_secs_f64() * 1e3;
        for way in [Way::PerfEvents, Way::Multi] {
            let options = Options {
                door: None,
                way: Some(way),
                ring_bytes: 1 << 20,
                writes: false,
            };
            let mut user = Probes::load(options).unwrap().take_user().unwrap();
            for count in COUNTS {
                let place = |number| Place {
                    hook: Hook::Enter,
                    offset: first + number,
                    site: Site::from_cookie(0),
                };
                let places: Vec<_> = (0..count).map(place).collect();
                let begun = Instant::now();
                let attached = user.attach(&file, &places).unwrap();
                let attach = ms(begun);
                // SAFETY: a row of instructions that do nothing, and a return.
                unsafe { weft_site_row() };
                let begun = Instant::now();
                Attached::take_out([attached]);
                println!(
                    "{way}: {count} probes in {attach:.0} ms, out in {:.0} ms",
                    ms(begun)
                );
            }
        }
    }
}
