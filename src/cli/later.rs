//! Flags that are put together when somebody asks for their request: a program with many requests is begun far more
//! often than it lists them all.

use clap::builder::{Resettable, StyledStr};
use clap::{ArgMatches, Args, Command, Error, FromArgMatches};

/// The arguments of a request, which clap learns of when it comes upon the request's name. What the list of
/// requests shows about it stands beside its name.
#[derive(Debug)]
pub struct Later<T>(pub T);

impl<T: FromArgMatches> FromArgMatches for Later<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

impl<T: Args> Args for Later<T> {
    fn augment_args(request: Command) -> Command {
        request.defer(|request| with_flags(request, T::augment_args))
    }

    fn augment_args_for_update(request: Command) -> Command {
        request.defer(|request| with_flags(request, T::augment_args_for_update))
    }
}

/// Adds flags, and nothing else: groups of them come with words of their own.
fn with_flags(request: Command, add: fn(Command) -> Command) -> Command {
    let kept = |text: Option<&StyledStr>| text.cloned().map_or(Resettable::Reset, Resettable::Value);
    let (about, long_about) = (kept(request.get_about()), kept(request.get_long_about()));
    add(request).about(about).long_about(long_about)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser, Subcommand};

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(subcommand)]
        request: Request,
    }

    #[derive(Debug, Subcommand)]
    enum Request {
        /// Do it
        ///
        /// All of it.
        Do(Later<DoArgs>),
    }

    #[derive(Debug, Args)]
    struct DoArgs {
        #[command(flatten)]
        shared: SharedArgs,
    }

    /// What several requests share
    #[derive(Debug, Args)]
    struct SharedArgs {
        #[arg(long)]
        twice: bool,
    }

    #[test]
    fn flags_come_when_they_are_asked_for_and_change_no_words() {
        let mut program = Program::command();
        let flags = |program: &Command| {
            let request = program.find_subcommand("do").unwrap();
            assert_eq!(request.get_about().unwrap().to_string(), "Do it");
            assert_eq!(request.get_long_about().unwrap().to_string(), "Do it\n\nAll of it.");
            request.get_arguments().filter(|arg| arg.get_id() == "twice").count()
        };
        assert_eq!(flags(&program), 0);
        program.build();
        assert_eq!(flags(&program), 1);
        let Request::Do(Later(args)) = Program::try_parse_from(["p", "do", "--twice"]).unwrap().request;
        assert!(args.shared.twice);
    }
}
