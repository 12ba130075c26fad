//! What the kernel knows of loaded programs: how much the verifier had to look at, and what running them takes.

use std::collections::HashSet;
use std::{fs, io};

use aya::programs::{ProgramInfo, loaded_programs};

/// One loaded program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Its name, of which the kernel keeps 15 characters.
    pub name: String,
    /// Instructions that the verifier processed, along all paths; it gives up at a million. 0: an older kernel.
    pub verified_instructions: u32,
    /// Bytes of the program after the verifier's rewriting, 8 an instruction.
    pub translated_bytes: u32,
    /// Bytes of machine code.
    pub jitted_bytes: u32,
    /// How often it ran while `kernel.bpf_stats_enabled`.
    pub runs: u64,
    /// How long all these runs took, ns; some 70 ns of each are the measuring's own.
    pub run_ns: u64,
}

/// The programs that a process holds, by name. Other processes' programs are not among them, even if they are ours.
///
/// # Errors
/// Where the process is gone, or its descriptors are not ours to look at.
pub fn programs_of(process_id: u32) -> io::Result<Vec<ProgramFacts>> {
    let mut ids = HashSet::new();
    for entry in fs::read_dir(format!("/proc/{process_id}/fdinfo"))? {
        // A descriptor that was closed meanwhile is none.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        ids.extend(program_id(&text));
    }
    // A program that went away between the kernel's list and our look at it was not among those held.
    let held = loaded_programs().filter_map(Result::ok).filter(|info| ids.contains(&info.id()));
    let mut programs: Vec<ProgramFacts> = held.map(|info| facts(&info)).collect();
    programs.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(programs)
}

/// A link's description has a program's id too; a program's own says what type it has.
fn program_id(fdinfo: &str) -> Option<u32> {
    let field = |name: &str| fdinfo.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    field("prog_type:")?;
    field("prog_id:")?.parse().ok()
}

fn facts(info: &ProgramInfo) -> ProgramFacts {
    ProgramFacts {
        name: info.name_as_str().unwrap_or_default().to_owned(),
        verified_instructions: info.verified_instruction_count().unwrap_or(0),
        translated_bytes: info.size_translated().unwrap_or(0),
        jitted_bytes: info.size_jitted(),
        runs: info.run_count(),
        run_ns: info.run_time().as_nanos() as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_not_taken_for_the_program_that_it_holds() {
        let program =
            "pos:\t0\nflags:\t02000002\nprog_type:\t26\nprog_jited:\t1\nprog_id:\t41\nrun_cnt:\t0\n";
        assert_eq!(program_id(program), Some(41));
        let link = "pos:\t0\nlink_type:\ttracing\nlink_id:\t7\nprog_tag:\t6f5c\nprog_id:\t41\n";
        assert_eq!(program_id(link), None);
        assert_eq!(program_id("pos:\t0\n"), None);
    }
}
