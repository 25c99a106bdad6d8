package main

// commands is the whole command line: one field per command group, each in a
// file of its own.
type commands struct {
	globals
	Help helpFlag `group:"Everywhere:" short:"h" help:"Show what a command does and takes."`

	Dev        devCmd        `cmd:"" help:"Broker, worker and a practice ERP in one process, to try everything. Nothing to set up."`
	Serve      serveCmd      `cmd:"" help:"The server."`
	Status     statusCmd     `cmd:"" help:"How the broker, its routes and workers are. Exit 0 well, 3 needs attention."`
	Send       sendCmd       `cmd:"" help:"Send one message to a route."`
	Messages   messagesCmd   `cmd:"" help:"Look at messages."`
	Events     eventsCmd     `cmd:"" help:"What became of messages, as it happened."`
	Routes     routesCmd     `cmd:"" help:"Look at routes; pause and resume them."`
	DLQ        dlqCmd        `cmd:"" name:"dlq" help:"Dead letters: look at them, mend them, send them again."`
	Operations operationsCmd `cmd:"" help:"Bulk acts on dead letters: follow or cancel them."`
	Reconcile  reconcileCmd  `cmd:"" help:"Prove that every accepted message is accounted for."`
	Compact    compactCmd    `cmd:"" help:"Give back to the disk what the ledger's file has free. The broker does it by itself when that is much."`
	Backup     backupCmd     `cmd:"" help:"Take a backup of the running broker, into one file."`
	Restore    restoreCmd    `cmd:"" help:"Make a data folder of a backup."`
	Doctor     doctorCmd     `cmd:"" help:"Look at everything the broker stands on. Exit 0 well, 3 needs attention."`
	Usage      usageCmd      `cmd:"" help:"Who used the broker: messages, repeats and refusals per key, route and day."`
	Audit      auditCmd      `cmd:"" help:"What operators did, and when."`
	Keys       keysCmd       `cmd:"" help:"Keys of senders and operators."`
	Workers    workersCmd    `cmd:"" help:"Workers: let them in, bind routes to them, shut them out."`
	Callbacks  callbacksCmd  `cmd:"" help:"Who is told the ends of messages over HTTP; try again what waits."`
	NATS       natsCmd       `cmd:"" name:"nats" help:"A NATS server elsewhere: the broker's login there."`
	Servicebus servicebusCmd `cmd:"" name:"servicebus" help:"Azure Service Bus as the queue: look at its queues, make them."`
	Connector  connectorCmd  `cmd:"" name:"connector" help:"The custom connector for Power Platform."`
	Me         meCmd         `cmd:"" help:"Whose key this is, and what it may do."`
	Reload     reloadCmd     `cmd:"" help:"Have the broker read its configuration file anew. A bad file keeps what runs."`
	Check      checkCmd      `cmd:"" help:"Check a broker's configuration file without starting anything."`
	Version    versionCmd    `cmd:"" help:"The version of this program."`
}

// globals are the flags that every command takes.
type globals struct {
	Server  string `group:"Everywhere:" placeholder:"URL" help:"The broker's address (else FERRY_URL, the context, http://127.0.0.1:8080)."`
	Context string `group:"Everywhere:" placeholder:"NAME" help:"A context of ferry/contexts.yaml in your configuration folder."`
	KeyFile string `group:"Everywhere:" placeholder:"FILE" help:"File with the key (else FERRY_KEY, FERRY_KEY_FILE, the context, ./data/admin.key)."`
	CA      string `group:"Everywhere:" name:"ca" placeholder:"FILE" help:"PEM file that the broker's certificate is checked against, beside this machine's (else FERRY_CA, the context)."`
	Output  string `group:"Everywhere:" short:"o" enum:"table,json" default:"table" help:"table for people, json for scripts."`
}
