"""The list of commands: name, where its function is, one line of help. Nothing is imported until a command is used."""

from __future__ import annotations

from dataclasses import dataclass

NODES = "Run a node"
DATA = "Look at data"
CARE = "Care for a node"
FLOWS = "Flows"
CONTRACTS = "Contracts"
ALARMS = "Alarms"
SHOP = "Shop floor"
FLEET = "Fleet"
TRUST = "Trust"
FILES = "Configuration"
SITES = "Configuration of sites, from the hub"


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `name` holds a space for a sub-command."""

    name: str
    target: str
    help: str
    group: str


PARENTS = {
    "contract": "What values promise, checked before they are stored.",
    "alarm": "Alarms of machines: what somebody has to look at.",
    "context": "What the plant knows beside its data: equipment, products, orders, reasons.",
    "downtime": "Stops of machines and their reasons.",
    "quality": "Scrap and rework of machines and their reasons.",
    "erp": "Orders in from an ERP or MES, confirmations out.",
    "twin": "Assets as they are, and as they were.",
    "fleet": "All nodes at once.",
    "config": "What the sites should run: kept at the hub, tried at the edge, taken back when it is not well.",
    "command": "What edges shall do, once each.",
    "code": "Modules of flows and releases of Millstream, kept at the hub by their digest.",
    "model": "Models that are trained at the hub and score at the edge.",
    "config rollout": "Changes that reach many sites stage by stage.",
    "history": "The history as a whole.",
    "deadletter": "What could not become data, kept as raw bytes.",
    "operator": "Who says who may do what: the key store.",
    "tenant": "Customers, each with accounts of its own.",
    "site": "Sites of a tenant, and the boxes that join as their edges.",
    "user": "People and programs with credentials of their own.",
    "login": "People who log in at a hub with tenants, on the hub's machine.",
    "tls": "Certificates of nodes, by an authority of your own.",
    "sim": "Simulated devices, and faults in front of real ones.",
    "flow": "Stateful processing, run exactly once.",
}
"""One line of help for a command that has sub-commands."""

COMMANDS = (
    Command("up", "_nodes:up", "Run an edge and its hub on this machine.", NODES),
    Command("edge", "_nodes:edge", "Run an edge node.", NODES),
    Command("hub", "_nodes:hub", "Run a hub.", NODES),
    Command("demo", "_demo:demo", "Show the whole path on real data, with a cut uplink and the ledger.", NODES),
    Command("torture", "_torture:torture", "Break a plant on this machine in every way, and count the parts.", NODES),
    Command("sim list", "_sim:list_", "List the simulated devices.", NODES),
    Command("sim run", "_sim:run_device", "Run a simulated device until Ctrl-C.", NODES),
    Command("sim fault", "_sim:fault", "Stand in front of a TCP device and misbehave, by a seed.", NODES),
    Command("check", "_files:check", "Check configuration files: all errors at once, no network.", FILES),
    Command("schema", "_files:schema", "Print the JSON Schema of a configuration file, for editors.", FILES),
    Command(
        "probe", "_probe:probe", "Test the connections of an edge file: open each, see what it can do, close it.", FILES
    ),
    Command(
        "discover",
        "_discover:discover",
        "Ask the hosts that you name which devices they are, and nobody else.",
        FILES,
    ),
    Command(
        "onboard",
        "_onboard:onboard",
        "Map a device: propose names, units and deadbands, show live values, write the file.",
        FILES,
    ),
    Command("profiles", "_profiles:profiles", "List device profiles: ready tags for known types of devices.", FILES),
    Command("browse", "_probe:browse", "List what a device offers, as a starting configuration.", FILES),
    Command("code push", "_code:push", "Store a module at the hub, for configurations that name it.", SITES),
    Command("code release", "_code:release", "Make a release of Millstream out of wheels, for `code push`.", SITES),
    Command("code list", "_code:list_", "List the modules that the hub has.", SITES),
    Command("code show", "_code:show", "Show what is said of one module, and which sites name it.", SITES),
    Command("model train", "_model:train", "Train a model on the history, as a file for `code push`.", SITES),
    Command("model show", "_model:show", "Show what a model says of itself.", SITES),
    Command("model score", "_model:score", "Let a model score rows of a file.", SITES),
    Command("code remove", "_code:remove", "Take a module away from the hub.", SITES),
    Command("config get", "_config:get", "Print the document of a site.", SITES),
    Command("config put", "_config:put", "Make a file the newest configuration of a site.", SITES),
    Command(
        "config edit",
        "_config_edit:edit",
        "Change the document of a site in an editor, and put it.",
        SITES,
    ),
    Command("config diff", "_config_edit:diff", "Show what differs between two revisions of a site.", SITES),
    Command("config blame", "_config_edit:blame", "Show which revision set each value of a site, and who.", SITES),
    Command("config plan", "_config_folder:plan", "Show what a folder of sites would change.", SITES),
    Command(
        "config apply",
        "_config_folder:apply",
        "Make the hub's sites what a folder says.",
        SITES,
    ),
    Command("config history", "_config:history", "List the revisions of a site, newest last.", SITES),
    Command("config status", "_config:status", "Show what each site should run, and what it runs.", SITES),
    Command(
        "config rollout start", "_config_rollout:start", "Roll the changes of a folder out, stage by stage.", SITES
    ),
    Command(
        "config rollout status", "_config_rollout:status", "Show a roll-out and its sites, or all roll-outs.", SITES
    ),
    Command("config rollout stop", "_config_rollout:stop", "Release nothing more of a roll-out.", SITES),
    Command(
        "config rollout resume",
        "_config_rollout:resume",
        "Go on with a roll-out that has stopped; sites that failed are left as they are.",
        SITES,
    ),
    Command(
        "config rollout rollback",
        "_config_rollout:rollback",
        "Cancel a roll-out, and give its sites what they had before.",
        SITES,
    ),
    Command("config rollback", "_config:rollback", "Make an older revision of a site its newest once more.", SITES),
    Command("tree", "_look:tree", "Show the namespace: places, tags, units.", DATA),
    Command("get", "_look:get", "Print the last value of tags.", DATA),
    Command("tail", "_look:tail", "Follow values as they are stored.", DATA),
    Command("query", "_query:query", "Ask the history: samples, windows, last values, as of a moment.", DATA),
    Command(
        "history export",
        "_archive:export",
        "Export days of history to Parquet files or a Delta table, each once.",
        DATA,
    ),
    Command("history import", "_archive:import_", "Bring Parquet or CSV files into a hub's history, each once.", DATA),
    Command(
        "history rollups", "_archive:rollups", "Work aggregates of minutes and hours out anew, from the samples.", DATA
    ),
    Command("publish", "_look:publish", "Store one value.", DATA),
    Command("write", "_write:write", "Write one value to a machine, through its edge.", DATA),
    Command(
        "evaluate",
        "_evaluate:evaluate",
        "Score a flow that finds anomalies on labelled recordings, beside baselines.",
        FLOWS,
    ),
    Command("flow test", "_flow_test:run_cases", "Test flows: samples in, samples out, in virtual time.", FLOWS),
    Command(
        "contract check",
        "_contract:check",
        "Check a contract file: what publishing it would change, and for whom.",
        CONTRACTS,
    ),
    Command(
        "contract publish", "_contract:publish", "Publish the contracts of a file, each as its next version.", CONTRACTS
    ),
    Command("contract list", "_contract:list_", "List the contracts that count.", CONTRACTS),
    Command("contract show", "_contract:show", "Show one contract.", CONTRACTS),
    Command(
        "contract diff",
        "_contract:diff",
        "Compare two versions of a contract: additive or breaking, and why.",
        CONTRACTS,
    ),
    Command("flow list", "_flow:list_", "List the flows of all nodes that can be seen from here.", FLOWS),
    Command("flow status", "_flow:status", "Show one flow: its partitions, instances and workers.", FLOWS),
    Command("flow lag", "_flow:lag", "Show how far a flow is behind, in messages and seconds.", FLOWS),
    Command("flow pause", "_flow:pause", "Stop a flow until `resume`, over restarts too.", FLOWS),
    Command("flow resume", "_flow:resume", "Let a paused flow go on where it was.", FLOWS),
    Command("flow replay", "_flow:replay", "Work a flow's state out anew, and say nothing twice.", FLOWS),
    Command("flow reset", "_flow:reset", "Let a flow whose state is gone (MS-0707) begin anew.", FLOWS),
    Command("flow run", "_flow:run_flow", "Run one more instance of a node's flow, here.", FLOWS),
    Command(
        "notify",
        "_notify:notify",
        "Send what the flow `notify` says, by e-mail, webhook and MQTT, until a signal.",
        ALARMS,
    ),
    Command("alarm list", "_alarm:list_", "List the alarms that are not normal, the most urgent first.", ALARMS),
    Command(
        "alarm history",
        "_alarm:history",
        "Show what happened to alarms: raised, acknowledged, shelved, by whom and why.",
        ALARMS,
    ),
    Command(
        "alarm ack",
        "_alarm:ack",
        "Acknowledge alarms, as they stand now: a newer occurrence stays unacknowledged.",
        ALARMS,
    ),
    Command(
        "alarm reset",
        "_alarm:reset",
        "Reset latched alarms whose condition has gone and that are acknowledged.",
        ALARMS,
    ),
    Command("alarm shelve", "_alarm:shelve", "Shelve alarms for a time: nobody is told of them until then.", ALARMS),
    Command("alarm unshelve", "_alarm:unshelve", "End a shelf before its time.", ALARMS),
    Command("alarm remove", "_alarm:remove", "Take alarms out of service, until `restore`.", ALARMS),
    Command("alarm restore", "_alarm:restore", "Put alarms back into service.", ALARMS),
    Command("alarm comment", "_alarm:comment", "Say something about an alarm; it stands in its history.", ALARMS),
    Command(
        "context import",
        "_context:import_",
        "Take equipment, products, orders, operators and reasons from CSV files.",
        SHOP,
    ),
    Command("erp run", "_erp:run_erp", "Read orders from an ERP or MES, confirm what was made, until a signal.", SHOP),
    Command("erp check", "_erp:check", "Show what would come in and go out now, and store nothing.", SHOP),
    Command(
        "context list",
        "_context:list_",
        "List what is known of the plant: equipment, products, orders, operators, reasons.",
        SHOP,
    ),
    Command(
        "downtime list", "_downtime:list_", "List the stops of machines, as people have put them right last.", SHOP
    ),
    Command("downtime pareto", "_downtime:pareto", "Show which reasons cost the most time, the longest first.", SHOP),
    Command("downtime split", "_downtime:split", "Cut a stop in two, each with a reason of its own.", SHOP),
    Command(
        "downtime merge",
        "_downtime:merge",
        "Join a stop to the one right before it, whose reason then counts for both.",
        SHOP,
    ),
    Command(
        "downtime reason",
        "_downtime:reason",
        "Say why a machine stood; figures that it touches are given again.",
        SHOP,
    ),
    Command(
        "quality list",
        "_quality:list_",
        "List scrap and rework of machines, as it was counted and as people have put it right.",
        SHOP,
    ),
    Command("quality pareto", "_quality:pareto", "Show which reasons cost the most parts, the most first.", SHOP),
    Command("quality say", "_quality:say", "Say how many parts of a time were scrap, rework or good after all.", SHOP),
    Command("quality correct", "_quality:correct", "Put right what somebody said of parts, or take it back.", SHOP),
    Command("oee", "_oee:oee", "Show OEE of machines, lines or plants over any time.", SHOP),
    Command(
        "why",
        "_downtime:why",
        "Show what a figure of OEE or energy is made of: its times, parts, losses, orders, doubts and stops.",
        SHOP,
    ),
    Command(
        "twin show",
        "_twin:show",
        "Show the twin of an asset: its values, state, order, alarms, what is desired, and whether it is well.",
        SHOP,
    ),
    Command(
        "twin list", "_twin:list_", "List the twins of assets: state, order, alarms, and whether they are well.", SHOP
    ),
    Command("twin history", "_twin:history", "Show each change of one field of a twin.", SHOP),
    Command("fleet query", "_fleet:query", "Ask every node of the fleet now, and print those that fit.", FLEET),
    Command("fleet sites", "_sites:sites", "Show how the sites of all tenants are, as their provider.", FLEET),
    Command("fleet data", "_fleet:data", "Look at raw data where it lies: at the edges.", FLEET),
    Command("command send", "_command:send", "Tell edges to do something, each once.", FLEET),
    Command("command list", "_command:list_", "List commands, the newest last.", FLEET),
    Command("command show", "_command:show", "Show one command at each of its edges, with its result.", FLEET),
    Command("command cancel", "_command:cancel", "Cancel a command where it has not begun.", FLEET),
    Command("command fetch", "_command:fetch", "Fetch the file that a command has left at an edge.", FLEET),
    Command(
        "operator init", "_trust:init", "Make an operator: a new key store, encrypted, and the file for the hub.", TRUST
    ),
    Command(
        "operator hub",
        "_trust:change_hub",
        "Say anew where edges reach the hub, and by which authorities they know it.",
        TRUST,
    ),
    Command("operator show", "_trust:show", "Show operator, tenants, sites and users.", TRUST),
    Command("operator export", "_trust:export", "Copy the key store, for a safe.", TRUST),
    Command("tenant add", "_trust:add_tenant", "Add a customer: accounts of its own, below a place of its own.", TRUST),
    Command(
        "tenant rekey",
        "_rekey:rekey",
        "Replace a tenant's signing keys: what the old ones signed opens nothing any more.",
        TRUST,
    ),
    Command("tenant limits", "_limits:limits", "Show what a tenant may use of a hub, or change it.", TRUST),
    Command(
        "site add", "_trust:add_site", "Add a site, and write the join file that makes one box its edge, once.", TRUST
    ),
    Command(
        "site revoke",
        "_lock_out:revoke_site",
        "Lock out a site's edge and its join files, at once; the site goes on locally.",
        TRUST,
    ),
    Command(
        "site restore", "_lock_out:restore_site", "Let a site's edge in again; its join files stay locked out.", TRUST
    ),
    Command("user add", "_trust:add_user", "Make credentials for a person or a program.", TRUST),
    Command("user revoke", "_lock_out:revoke_user", "Lock out a user, at once.", TRUST),
    Command("user restore", "_lock_out:restore_user", "Let a user in again.", TRUST),
    Command("login add", "_login:add", "Add a person who logs in with a password.", TRUST),
    Command("login list", "_login:list_", "List the people who log in with a password.", TRUST),
    Command("login password", "_login:password", "Give a person a new password; its sessions end.", TRUST),
    Command(
        "login second-factor",
        "_login:second_factor",
        "Ask a person for a code of a telephone, too; its sessions end.",
        TRUST,
    ),
    Command("login role", "_login:role", "Give a person another role, or other paths; its sessions end.", TRUST),
    Command("login remove", "_login:remove", "Remove a person; its sessions and connections end at once.", TRUST),
    Command(
        "tls init", "_tls:init", "Make an authority of your own: a folder that signs certificates of nodes.", TRUST
    ),
    Command(
        "tls issue", "_tls:issue", "Make the certificate of a node, for the names by which others reach it.", TRUST
    ),
    Command(
        "tls renew", "_tls:renew", "Make a new key and certificate for the same names, in the place of the old.", TRUST
    ),
    Command("tls rollover", "_tls:rollover", "Replace the authority step by step, while every link stays.", TRUST),
    Command("tls show", "_tls:show", "Show certificates: for whom, from whom, until when.", TRUST),
    Command("join", "_join:join", "Become the edge of a site, with the join file that its operator made.", NODES),
    Command("status", "_state:status", "Show how the nodes are: connectors, streams, uplink, alarms.", CARE),
    Command("ledger", "_state:ledger", "Show the account: stored, forwarded, missing, repeated.", CARE),
    Command("trace", "_trace:trace", "Show what touched a message, and when.", CARE),
    Command("top", "_top_command:top", "Watch a node live in the terminal.", CARE),
    Command("doctor", "_doctor:doctor", "Find the usual faults and say what to do.", CARE),
    Command(
        "backup", "_backup:backup", "Copy a running hub's history, streams, buckets and consumers into a folder.", CARE
    ),
    Command("restore", "_backup:restore", "Check a backup, and with --config make a hub from it.", CARE),
    Command("events", "_events:events", "Show what happened to the hub's servers, links and streams.", CARE),
    Command("deadletter list", "_deadletter:list_", "List what could not become data.", CARE),
    Command("deadletter show", "_deadletter:show", "Show one dead letter with its raw bytes.", CARE),
    Command("deadletter replay", "_deadletter:replay", "Send dead letters again to where they should have gone.", CARE),
    Command("deadletter drop", "_deadletter:drop", "Let dead letters go for good, told to the audit.", CARE),
    Command("explain", "_files:explain", "Explain an error code.", CARE),
    Command("version", "_files:version", "Print versions.", CARE),
)
