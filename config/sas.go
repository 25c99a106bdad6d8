package config

import (
	"fmt"
	"slices"
	"strings"

	"ferry/secret"
)

// BrokerSAS is a shared access policy: tokens that one of its keys signed stand for
// an API key in the calls of Service Bus' REST API.
type BrokerSAS struct {
	Name string `yaml:"name"` // as skn in tokens names it
	// Key and SecondaryKey are references to keys of at least 16 characters; two, so
	// that they can be changed one after the other.
	Key          secret.Ref `yaml:"key"`
	SecondaryKey secret.Ref `yaml:"secondaryKey"`
	Rights       []string   `yaml:"rights"` // send, listen
	Routes       []string   `yaml:"routes"` // which; none means all
}

const (
	maxSAS     = 100
	maxSASName = 128
)

func (b *Broker) checkSAS(d *decoder) {
	if len(b.SAS) > maxSAS {
		d.at("sas", "", "there are %d policies, %d at most", len(b.SAS), maxSAS)
	}
	first := map[string]int{}
	for i := range b.SAS {
		p, path := &b.SAS[i], fmt.Sprintf("sas[%d]", i)
		p.check(d, path)
		for j, name := range p.Routes {
			if !slices.ContainsFunc(b.Routes, func(r BrokerRoute) bool { return r.Name == name }) {
				d.at(fmt.Sprintf("%s.routes[%d]", path, j), "name one of routes, or leave it out for all", "%s.routes: there is no route %s", path, clip(name))
			}
		}
		if line, twice := first[p.Name]; twice {
			d.at(path+".name", "", "the policy %s stands here twice, first on line %d", clip(p.Name), line)
		} else {
			first[p.Name] = d.line(path + ".name")
		}
	}
}

func (p *BrokerSAS) check(d *decoder, path string) {
	good := p.Name != "" && len(p.Name) <= maxSASName && strings.Trim(strings.ToLower(p.Name), "abcdefghijklmnopqrstuvwxyz0123456789-_.") == ""
	if !good {
		d.at(path+".name", "such as flows or RootManageSharedAccessKey", "%s.name: %q cannot be the name of a policy", path, clip(p.Name))
	}
	if p.Key.IsZero() {
		d.at(path, "add key: env:NAME or file:PATH", "%s has no key", path)
	}
	if len(p.Rights) == 0 {
		d.at(path, "add rights: [send], [listen] or both", "%s has no rights", path)
	}
	for i, right := range p.Rights {
		d.checkOneOf(fmt.Sprintf("%s.rights[%d]", path, i), right, "send", "listen")
	}
}
