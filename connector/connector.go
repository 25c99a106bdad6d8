// Package connector makes the files of a Power Platform custom connector of the
// broker's routes: what makers see of Ferry in Power Automate, Logic Apps and Power
// Apps. It is pure: routes and options in, files out, the same for the same input.
//
// What is in the definition depends on one route at a time, and ids are made of
// names alone: a route or a field that is added leaves the rest as it was, to the
// byte, so that flows that use it go on.
package connector

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ferry"
)

// The ways to log on that a connector may offer.
const (
	AuthAPIKey = "apiKey"
	AuthOAuth  = "oauth" // of Microsoft Entra ID
	AuthBoth   = "both"  // whoever makes a connection chooses
)

// Auths lists the ways to log on.
func Auths() []string { return []string{AuthAPIKey, AuthOAuth, AuthBoth} }

// MaxDefinition is how large apiDefinition.swagger.json may be, bytes: Power Platform
// takes no larger one.
const MaxDefinition = 1<<20 - 1

// NoHost stands for a host that is not known, or that only the broker's own machine
// reaches. Nothing ever answers there.
const NoHost = "broker.example"

// Options of a connector. The zero value makes one.
type Options struct {
	// PublicURL is where flows reach the broker, such as https://broker.example, also
	// with a path; a host alone is taken too. Empty or loopback: NoHost.
	PublicURL string
	Auth      string // one of Auths; empty: both where ClientID is set, else apiKey
	ClientID  string // of the connector's app registration
	Tenant    string // id or domain; empty: common
	Resource  string // of the broker's app registration; empty: api://ClientID
	Title     string // of the connector; empty: Ferry
	Publisher string // empty: Ferry
	Email     string // of whom to ask; may be empty
	Website   string // empty: the broker's
	Privacy   string // the page of the privacy policy; empty: the website
}

// File is one file of a connector.
type File struct {
	Name string
	Data []byte
}

// Connector is a connector as files, and what people should know of it.
type Connector struct {
	Files []File // the definition first
	Notes []string
}

// The files of a connector.
const (
	DefinitionFile = "apiDefinition.swagger.json"
	PropertiesFile = "apiProperties.json"
	SettingsFile   = "settings.json"
	IconFile       = "icon.png"
	ReadmeFile     = "README.md"
	ZipFile        = "ferry-connector.zip" // all of them
)

// FileNames lists the files of a connector.
func FileNames() []string {
	return []string{DefinitionFile, PropertiesFile, SettingsFile, IconFile, ReadmeFile}
}

// Make makes a connector for routes. Options that cannot be used are a badRequest; a
// definition that would be larger than MaxDefinition is connectorTooLarge.
func Make(routes []ferry.Route, o Options) (Connector, error) {
	at, err := o.complete()
	if err != nil {
		return Connector{}, err
	}
	d := &definition{options: o, at: at}
	for _, route := range sorted(routes) {
		d.addRoute(&route)
	}
	doc, err := d.document()
	if err != nil {
		return Connector{}, err
	}
	made := Connector{Notes: append(at.notes, d.notes...)}
	made.Files = []File{
		{DefinitionFile, doc},
		{PropertiesFile, indented(properties(&o, at))},
		{SettingsFile, indented(settings())},
		{IconFile, icon()},
		{ReadmeFile, readme(d, made.Notes)},
	}
	return made, nil
}

// sorted are the routes by name, whatever their order in the configuration is.
func sorted(routes []ferry.Route) []ferry.Route {
	list := slices.Clone(routes)
	slices.SortFunc(list, func(a, b ferry.Route) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// RouteSchema is what the action for any route shows for a route: the fields of its
// messages in the terms that makers' tools read, as JSON. Without a schema it is one
// free field.
func RouteSchema(route *ferry.Route) json.RawMessage {
	whole, _ := plainForm(route)
	schema, _ := bodySchema(whole)
	if schema.text("type") != "object" { // the tools show fields of objects only
		schema = obj("type", "object")
	}
	return compact(append(obj("x-ms-summary", titleCase(route.Heading()), "description", messageText(route)), schema...))
}

// Zip packs the files into one; the same files make the same bytes.
func Zip(files []File) ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, f := range files {
		w, err := z.Create(f.Name)
		if err == nil {
			_, err = w.Write(f.Data)
		}
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", f.Name, err)
		}
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("pack: %w", err)
	}
	return b.Bytes(), nil
}
