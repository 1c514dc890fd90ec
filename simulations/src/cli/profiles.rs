//! `caps-sim profiles`: the link profiles.

use caps_node::deployment::profile::Profile;
use caps_node::output::table;
use caps_node::say;
use clap::Args;

#[derive(Debug, Args)]
pub(super) struct Profiles {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Tell where the figures come from.
    #[arg(long)]
    sources: bool,
}

impl Profiles {
    pub(super) fn run(&self) {
        if self.json {
            let figures = |up: bool, profile: &Profile| if up { profile.up.to_string() } else { profile.down.to_string() };
            let of = |profile: &Profile| {
                serde_json::json!({
                    "name": profile.name, "about": profile.about, "up": figures(true, profile), "down": figures(false, profile), "source": profile.source,
                })
            };
            let all: Vec<serde_json::Value> = Profile::all().iter().map(of).collect();
            return say!("{}", serde_json::Value::from(all));
        }
        let mut shown = table(&["PROFILE", "UP", "DOWN", if self.sources { "SOURCE" } else { "WHAT IT IS" }]);
        for profile in Profile::all() {
            let last = if self.sources { profile.source } else { profile.about };
            shown.add_row([profile.name, &profile.up.to_string(), &profile.down.to_string(), last]);
        }
        say!("{shown}");
    }
}
