package main

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ferry"
	"ferry/config"
	"ferry/connector"
)

type connectorCmd struct {
	Export connectorExportCmd `cmd:"" help:"Write the files of a custom connector for Power Automate, Logic Apps and Power Apps."`
}

type connectorExportCmd struct {
	Out    string `required:"" placeholder:"DIR" help:"The folder to write to."`
	Config string `placeholder:"FILE" help:"Take the routes from this file, without a server (else from the server that --server, FERRY_URL or a context names, else from broker.yaml where there is one)."`
	Host   string `placeholder:"HOST" help:"The broker's host as flows reach it (else that of publicUrl)."`
	Auth   string `enum:",apiKey,oauth,both" default:"" placeholder:"WAY" help:"How connections log on: apiKey, oauth (Microsoft Entra ID) or both (else apiKey, and both with --client-id)."`
	Routes string `placeholder:"A,B" help:"Only these routes."`
	Title  string `placeholder:"TEXT" help:"The connector's name, at most 30 characters (else Ferry)."`

	ClientID      string `group:"Microsoft Entra ID:" placeholder:"ID" help:"Client id of the connector's app registration."`
	Tenant        string `group:"Microsoft Entra ID:" placeholder:"ID" help:"Id or domain of the tenant (else common)."`
	Resource      string `group:"Microsoft Entra ID:" placeholder:"URI" help:"Application ID URI of the broker's app registration (else api://CLIENT-ID)."`
	Publisher     string `group:"About it:" placeholder:"NAME" help:"Who publishes the connector (else Ferry)."`
	Email         string `group:"About it:" placeholder:"ADDRESS" help:"Whom to ask."`
	Website       string `group:"About it:" placeholder:"URL" help:"Where to read more (else the broker's /connector/)."`
	PrivacyPolicy string `group:"About it:" placeholder:"URL" help:"The privacy policy (else the website)."`
}

// exportedConnector is what was written.
type exportedConnector struct {
	Dir    string   `json:"dir"`
	Files  []string `json:"files"`
	Kept   []string `json:"kept,omitempty"` // as they were: they hold what others wrote
	From   string   `json:"from"`           // where the routes are from
	Routes int      `json:"routes,omitempty"`
	Notes  []string `json:"notes,omitempty"`
}

// Run writes the connector's files.
func (c connectorExportCmd) Run(a *app) error {
	file, err := c.file(a)
	if err != nil {
		return err
	}
	var files []connector.File
	done := exportedConnector{Dir: c.Out, From: file}
	if file != "" {
		var made connector.Connector
		if made, done.Routes, err = c.fromFile(file); err != nil {
			return err
		}
		files, done.Notes = made.Files, made.Notes
	} else if files, done.From, err = c.fromServer(a); err != nil {
		return err
	}
	if done.Files, done.Kept, err = writeConnector(c.Out, files); err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(done)
	}
	a.printf("%s with the routes of %s: %s\n", c.Out, done.From, strings.Join(done.Files, ", "))
	for _, name := range done.Kept {
		a.printf("%s is kept as it was\n", name)
	}
	for _, note := range done.Notes {
		a.remark("%s", note)
	}
	a.remark("%s says how it becomes a custom connector", filepath.Join(c.Out, connector.ReadmeFile))
	return nil
}

// file is the configuration to read; empty: a server is asked.
func (c connectorExportCmd) file(a *app) (string, error) {
	if c.Config != "" {
		return c.Config, nil
	}
	chosen, err := a.chosenContext()
	if err != nil || a.globals.Server != "" || a.env("FERRY_URL") != "" || chosen.Server != "" {
		return "", err
	}
	if _, err := os.Stat(defaultConfig); err != nil {
		return "", nil // no file: the server at the default address is asked
	}
	return defaultConfig, nil
}

func (c connectorExportCmd) fromFile(file string) (connector.Connector, int, error) {
	cfg, err := config.LoadBroker(file)
	if err != nil {
		return connector.Connector{}, 0, err
	}
	routes := cfg.FerryRoutes()
	if wanted := strings.FieldsFunc(c.Routes, func(r rune) bool { return r == ',' || r == ' ' }); len(wanted) > 0 {
		for _, name := range wanted {
			if !slices.ContainsFunc(routes, func(r ferry.Route) bool { return r.Name == name }) {
				return connector.Connector{}, 0, ferry.Errorf(ferry.CodeRouteNotFound, "there is no route %q in %s", name, file)
			}
		}
		routes = slices.DeleteFunc(routes, func(r ferry.Route) bool { return !slices.Contains(wanted, r.Name) })
	}
	made, err := connector.Make(routes, connector.Options{
		PublicURL: firstOf(c.Host, cfg.PublicURL), Auth: c.Auth, Title: c.Title,
		ClientID: c.ClientID, Tenant: c.Tenant, Resource: c.Resource,
		Publisher: c.Publisher, Email: c.Email, Website: c.Website, Privacy: c.PrivacyPolicy,
	})
	return made, len(routes), err
}

// fromServer asks a broker, whose key decides which routes there are.
func (c connectorExportCmd) fromServer(a *app) ([]connector.File, string, error) {
	at, err := a.findServer()
	if err != nil {
		return nil, "", err
	}
	broker, err := a.client()
	if err != nil {
		return nil, "", err
	}
	query := url.Values{}
	for name, value := range map[string]string{
		"host": c.Host, "auth": c.Auth, "routes": c.Routes, "title": c.Title, "clientId": c.ClientID, "tenant": c.Tenant, "resource": c.Resource,
		"publisher": c.Publisher, "email": c.Email, "website": c.Website, "privacyPolicy": c.PrivacyPolicy,
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	packed, err := broker.ConnectorZip(a.ctx, query)
	if err != nil {
		return nil, "", err
	}
	files, err := unpack(packed)
	return files, at.url, err
}

// unpack reads the files of a connector and no others, whatever else is in the zip.
func unpack(packed []byte) ([]connector.File, error) {
	z, err := zip.NewReader(bytes.NewReader(packed), int64(len(packed)))
	if err != nil {
		return nil, fmt.Errorf("the broker's answer is no zip: %w", err)
	}
	var files []connector.File
	for _, name := range connector.FileNames() {
		f, err := z.Open(name)
		if err != nil {
			return nil, fmt.Errorf("the broker's answer: %w", err)
		}
		data, err := io.ReadAll(io.LimitReader(f, 4*connector.MaxDefinition))
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("the broker's answer: %s: %w", name, err)
		}
		files = append(files, connector.File{Name: name, Data: data})
	}
	return files, nil
}

// writeConnector writes the files. settings.json stays when it is there: paconn
// keeps the connector's id in it.
func writeConnector(dir string, files []connector.File) (written, kept []string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name)
		if f.Name == connector.SettingsFile {
			if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
				kept = append(kept, path)
				continue
			}
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			return written, kept, err
		}
		written = append(written, f.Name)
	}
	return written, kept, nil
}
