//! Making a pattern of a scenario that holds, by a program that the user names.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::Lesson;
use crate::ops::host::Masking;
use crate::run::learning::{Crystalized, Scenario, Section, Throughput};
use crate::run::shell;
use crate::runner::interrupt::Interrupts;
use crate::store::pointers::pretty;
use crate::sys::beneath::Beneath;
use crate::sys::digest::sha256_hex;
use crate::sys::fs::{self, Durability};
use crate::sys::shell::{Ended, run};

/// The variables that name the program and its model.
const PROGRAM: &str = "CODEX_CLI_BIN";
const MODEL: &str = "CRYSTALIZER_MODEL";
/// The file in which the program may say what it cost, in dollars.
const COST: &str = "CRYSTALIZER_COST_FILE";
const USUAL_MODEL: &str = "gpt-5.1-codex-max";
const PACK: &str = "crystalizer-v1";
/// What the program is asked for.
const PROMPT: &str = "Distil one reusable pattern from the scenario below, which was replayed on a clean copy of its \
work tree and succeeded.\nAnswer in Markdown with the headings Problem, Solution and Rationale. Name no secret, no \
person and no path of a machine.\n";
/// Where patterns wait for somebody to look at them.
const FOLDER: &str = ".agent/patterns/candidates";
/// No pattern is longer than this.
const LARGEST: u64 = 1 << 20;

impl Lesson<'_> {
    /// Has a pattern made. Returns what to say if it cost too much.
    pub(super) async fn crystalize(
        &self,
        section: &mut Section,
        scenario: &Scenario,
        interrupts: &mut Interrupts,
    ) -> Option<String> {
        let at = self.ctx.clock.now();
        let settings = &self.learning.crystalizer;
        let model = self.ctx.env.get(MODEL).filter(|model| !model.is_empty()).map(str::to_owned);
        let budget = settings.budget as f64 / 1e6;
        let mut state = Crystalized {
            candidate_path: None,
            model: model.or_else(|| settings.model.clone()).unwrap_or_else(|| USUAL_MODEL.to_owned()),
            prompt_pack: PACK.to_owned(),
            prompt_pack_stamp: Some(sha256_hex(PROMPT.as_bytes())),
            budget_usd: budget,
            cost_usd: None,
            status: "skipped".to_owned(),
            created_at: at,
            error: None,
        };
        let program = self.ctx.env.get(PROGRAM).filter(|program| !program.is_empty()).map(shell::word);
        let mut too_much = None;
        match settings.command.clone().or(program) {
            _ if interrupts.is_over().await => {
                state.error =
                    interrupts.seen().map(|signal| format!("{signal} came before it was asked for"));
            }
            None => {
                state.error = Some(format!(
                    "no program makes patterns: neither `learning.crystalizer.command` nor {PROGRAM} is set"
                ))
            }
            Some(program) => match self.pattern(&program, &state.model, scenario, interrupts).await {
                Ok((_, cost)) if cost.is_some_and(|cost| cost > budget) => {
                    state.status = "failed".to_owned();
                    state.cost_usd = cost;
                    state.error = Some("budget_exceeded".to_owned());
                    too_much = Some(format!("the pattern cost {} dollars of {budget}", cost.unwrap_or(0.0)));
                }
                Ok((text, cost)) => {
                    state.cost_usd = cost;
                    match self.keep_pattern(scenario, &text) {
                        Ok(path) => {
                            state.status = "succeeded".to_owned();
                            state.candidate_path = Some(path);
                            section.throughput =
                                Some(Throughput { candidates: 1, active: 0, deprecated: 0, updated_at: at });
                        }
                        Err(err) => {
                            state.status = "failed".to_owned();
                            state.error = Some(format!("{err:#}"));
                        }
                    }
                }
                Err(err) => {
                    state.status = "failed".to_owned();
                    state.error = Some(Masking::new(&self.ctx.env, None).masked(&format!("{err:#}")));
                }
            },
        }
        if let Some(error) = state.error.as_ref().filter(|_| state.status == "failed") {
            self.warn(&format!("no pattern was made: {error}"));
        }
        section.crystalizer = Some(state);
        too_much
    }

    /// Calls the program, and returns its pattern and what it cost.
    async fn pattern(
        &self,
        program: &str,
        model: &str,
        scenario: &Scenario,
        interrupts: &mut Interrupts,
    ) -> Result<(String, Option<f64>)> {
        let folder = self.folder().join("crystalizer");
        fs::create_dir_all(&folder)?;
        let file = |name: &str| folder.join(name);
        let (input, output, cost) = (file("input.md"), file("output.md"), file("cost"));
        for old in [&output, &cost] {
            fs::remove(old)?;
        }
        let document = String::from_utf8_lossy(&pretty(scenario)).into_owned();
        let prompt = format!("{PROMPT}\n```json\n{document}```\n");
        fs::write_atomically(&input, prompt.as_bytes(), Durability::Process)?;
        let text = |path: &Path| shell::word(&path.display().to_string());
        let line = format!(
            "{program} chat --model {} --input-file {} --output-file {}",
            shell::word(model),
            text(&input),
            text(&output)
        );
        let vars = self.ctx.env.vars().map(|(name, value)| (name.to_owned(), value.to_owned()));
        let more = [(OsString::from(COST), cost.clone().into_os_string())];
        let env: Vec<_> = vars.chain(more).collect();
        let limit = self.learning.crystalizer.timeout;
        let words = ["/bin/sh", "-c", &line].map(OsString::from);
        let stop = async || interrupts.is_over().await;
        let ended = run(&words, &self.ctx.root, &env, limit, &mut |_| {}, stop).await;
        let ended = ended.context("it cannot be started")?;
        match ended {
            Ended::Code(0) => {}
            Ended::Code(code) => anyhow::bail!("the program failed with exit code {code}"),
            Ended::Signal(signal) => anyhow::bail!("the program was ended by {signal}"),
            Ended::TooLong => anyhow::bail!("the program took longer than {} s", limit.as_secs()),
            Ended::Stopped => {
                anyhow::bail!("the program was ended by {}", interrupts.seen().unwrap_or_default())
            }
        }
        let pattern = fs::read_regular(&output, LARGEST).context("the program wrote no pattern")?;
        let pattern = Masking::new(&self.ctx.env, None).masked(String::from_utf8_lossy(&pattern).trim());
        anyhow::ensure!(!pattern.is_empty(), "the program wrote an empty pattern");
        let cost = fs::read_regular(&cost, 64).unwrap_or_default();
        let cost = match String::from_utf8_lossy(&cost).trim() {
            "" => None,
            text => {
                Some(text.parse::<f64>().ok().filter(|cost| cost.is_finite() && *cost >= 0.0).with_context(
                    || {
                        format!(
                            "the program says that it cost `{}`, and that is no amount",
                            text.escape_debug()
                        )
                    },
                )?)
            }
        };
        Ok((pattern, cost))
    }

    /// Puts the pattern where candidates wait, over none that is there already.
    fn keep_pattern(&self, scenario: &Scenario, text: &str) -> Result<String> {
        let slug = crate::id::slug(&scenario.entrypoint);
        let slug: String = slug.chars().take(48).collect();
        let name = format!("{}-{}.md", slug.trim_end_matches('-'), &sha256_hex(text.as_bytes())[..8]);
        let path = PathBuf::from(FOLDER).join(name);
        let beneath = Beneath::open(&self.ctx.layout.root)?;
        if beneath.read(&path, LARGEST)?.is_none() {
            beneath.replace_all(&[(&path, format!("{text}\n").as_bytes(), None)])?;
        }
        Ok(path.display().to_string())
    }
}
