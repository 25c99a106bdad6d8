package connector

import (
	"fmt"
	"strings"
)

// readme says how the files become a connector, and what may change.
func readme(d *definition, notes []string) []byte {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	o := &d.options
	p("# %s: a custom connector for Power Platform\n", o.Title)
	p("| file | |")
	p("|---|---|")
	p("| `%s` | the actions and triggers, OpenAPI 2.0 |", DefinitionFile)
	p("| `%s` | how a connection logs on, the icon's colour, the policies |", PropertiesFile)
	p("| `%s` | where `paconn` keeps its arguments |", SettingsFile)
	p("| `%s` | the icon |", IconFile)
	for i, note := range notes {
		if i == 0 {
			p("\n**Look at this first:**\n")
		}
		p("- %s", plainText(note))
	}
	d.readmeBefore(p)
	d.readmeWizard(p)
	d.readmeCommands(p)
	d.readmeActions(p)
	p("\n## When the broker's routes change\n")
	p("Make the files again and update the connector (below Definition in the wizard, or `pac connector update`). Flows that are")
	p("there keep working while routes, optional fields and new values of lists are added: nothing else in the files changes")
	p("then. These changes break flows that use what they touch: a route renamed or taken out; a field renamed, taken out or of")
	p("another kind; a field that was optional and is required now; a value taken out of a list; a body that had fields and has")
	p("none, or the other way round; another default version. Give the new form a version or a route of its own, and take the old")
	p("one out when no flow uses it.")
	p("Designers show a changed definition after some minutes, in flows that are opened anew.")
	return []byte(b.String())
}

type printer func(format string, args ...any)

func (d *definition) readmeBefore(p printer) {
	p("\n## Before\n")
	host := "the broker's host name, such as `broker.contoso.com`, as the cloud reaches it: https, with a certificate that everyone trusts"
	if d.at.known {
		host = "the broker's host name: `" + d.at.host + "` here. It has to be reached from the cloud: https, with a certificate that everyone trusts"
	}
	p("- %s.", host)
	if d.options.Auth != AuthOAuth {
		p("- a key of the broker: `broker keys create power-automate --role sender`, with `--routes` to allow only some routes.")
	}
	if d.options.Auth != AuthAPIKey {
		p("- for Microsoft Entra ID two app registrations: one for the broker (Expose an API, its Application ID URI is the resource")
		p("  `%s`) and one for the connector (client id `%s`, a client secret, a permission on the broker's API, and as redirect", plainText(d.options.Resource), plainText(d.options.ClientID))
		p("  URI the one that the connector shows once it is made). `issuers` in the broker's `broker.yaml` names the tenant and the resource.")
	}
}

func (d *definition) readmeWizard(p printer) {
	p("\n## With the wizard\n")
	p("1. [make.powerautomate.com](https://make.powerautomate.com), environment at the top right, then **More**, **Discover all**,")
	p("   **Custom connectors**, **New custom connector**, **Import an OpenAPI file**: name `%s`, file `%s`, **Continue**.", d.options.Title, DefinitionFile)
	p("2. **General**: upload `%s`, colour `%s`; Host is `%s`, Base URL `/`. With an on-premises data gateway tick", IconFile, brandColor, d.at.host)
	p("   **Connect via on-premises data gateway**.")
	if d.options.Auth == AuthOAuth {
		p("3. **Security**: OAuth 2.0, identity provider Azure Active Directory, client id, client secret, resource URL `%s`.", plainText(d.options.Resource))
	} else {
		p("3. **Security**: API Key, label `API Key`, name `%s`, location Header.", keyHeader)
	}
	p("4. **Create connector**. **Test**: **New connection**, then **GetConnection**, **Test operation**: 200 and the name of the key.\n")
	p("The wizard reads the definition only: the host is that of the connector, and there is one way to log on. For one connector")
	p("in several environments, or both ways to log on, use the command line.")
}

func (d *definition) readmeCommands(p printer) {
	p("\n## With the command line\n")
	p("Connections made with it ask for **Broker Host**: one connector in a solution serves development, test and production.\n")
	p("Power Platform CLI:\n")
	p("    pac auth create --environment ENVIRONMENT")
	p("    pac connector create --api-definition-file %s --api-properties-file %s --icon-file %s", DefinitionFile, PropertiesFile, IconFile)
	p("    pac connector update --connector-id ID --api-definition-file %s --api-properties-file %s\n", DefinitionFile, PropertiesFile)
	secret := ""
	if d.options.Auth != AuthAPIKey {
		secret = " --secret SECRET"
	}
	p("or paconn (`pip install paconn`), which writes the connector's id into `%s`:\n", SettingsFile)
	p("    paconn login")
	p("    paconn create --settings %s%s", SettingsFile, secret)
	p("    paconn update --settings %s%s\n", SettingsFile, secret)
	p("Then **New connection** in the list of custom connectors, and test it with **Check the connection** (`GetConnection`, which is")
	p("`GET /v1/me`).")
}

func (d *definition) readmeActions(p printer) {
	p("\n## Actions and triggers\n")
	p("| in Power Automate | operation |")
	p("|---|---|")
	for _, path := range d.operations() {
		item, _ := path.value.(object)
		for _, m := range item {
			if op, ok := m.value.(object); ok && op.has("operationId") && op.text("x-ms-visibility") != "internal" {
				p("| %s | `%s` |", plainText(op.text("summary")), op.text("operationId"))
			}
		}
	}
	p("\n**Message ID** is the business key, such as the number of the invoice: give it always, since a flow may send twice")
	p("without showing it. Actions that end in *and wait* end when the message does, and do not fail when it is dead-lettered: put a")
	p("Condition on State behind them. They wait for 30 days at most; the setting **Asynchronous pattern** has to be on.")
}

// plainText is text that Markdown takes as it is.
func plainText(s string) string {
	return strings.NewReplacer("<", "&lt;", ">", "&gt;", "|", "&#124;", "`", "'", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]").Replace(tidy(s))
}
