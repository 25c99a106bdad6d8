package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"ferry"
	"ferry/adapters"
	"ferry/httpauth"
	"ferry/internal/apispec"
	"ferry/internal/stanza"
	"ferry/secret"
)

// importCmd writes a worker.yaml for an API that is described elsewhere.
type importCmd struct {
	OpenAPI importOpenAPICmd `cmd:"" name:"openapi" help:"From an OpenAPI or Swagger description: a destination, and a route for each operation that writes."`
	Postman importPostmanCmd `cmd:"" help:"From a Postman collection: a destination, and a route for each request that writes."`
}

// importFlags are what both take.
type importFlags struct {
	Operation []string `placeholder:"ID" help:"Operations to make routes of, by id, or as METHOD /path; default all that write."`
	Name      string   `placeholder:"NAME" help:"Name of the destination (by the title)."`
	URL       string   `placeholder:"URL" help:"Address of the API (the one that the source names)."`
	Worker    string   `default:"erp-worker-1" placeholder:"NAME" help:"Name of the worker (${default})."`
	Out       string   `placeholder:"FILE" help:"File to write; it must not be there yet. Default: standard output."`
}

// placeholder stands where the source names no address.
const placeholder = "https://change-me.example"

// emit writes the file, after every route of it was opened as the worker does: one
// that cannot be is left out, and the file says why.
func (c importFlags) emit(a *app, f *stanza.File, dest adapters.DestinationConfig, routes []imported) error {
	for _, name := range []string{dest.Name, c.Worker} {
		if !stanza.IsName(name) {
			return ferry.Errorf(ferry.CodeBadConfig, "%q cannot be a name", name).WithHint("small letters, digits and dashes, 2 to 50, beginning with a letter: erp-prod")
		}
	}
	opened, err := a.registry().Open(dest)
	if err != nil {
		return err
	}
	defer func() { _ = opened.Close() }() // nothing was sent
	taken := map[string]bool{}
	for _, r := range routes {
		r.stanza.Name = stanza.Distinct(r.stanza.Name, taken)
		r.config.Route = r.stanza.Name
		if why := r.stanza.Unfit(); why != "" {
			f.Left = append(f.Left, r.stanza.Name+": "+why)
			continue
		}
		if _, err := opened.Route(r.config); err != nil {
			message, hint := explain(err)
			f.Left = append(f.Left, sentences(strings.TrimPrefix(message, "route "), hint))
			continue
		}
		f.Routes = append(f.Routes, r.stanza)
	}
	if len(f.Routes) == 0 {
		err := ferry.Errorf(ferry.CodeBadConfig, "no route can be made of it")
		if len(f.Left) > 0 {
			err = ferry.Errorf(ferry.CodeBadConfig, "no route can be made of it: %s", f.Left[0])
		}
		return err.WithHint("--operation chooses one")
	}
	if len(f.Routes) > ferry.MaxRoutes {
		return ferry.Errorf(ferry.CodeBadConfig, "it has %d operations that write, and a worker has at most %d routes", len(f.Routes), ferry.MaxRoutes).
			WithHint("choose some with --operation ID, which may be given several times")
	}
	f.Worker = c.Worker
	return a.save(c.Out, []byte(f.YAML()))
}

// imported is a route as it is written, and as the adapter takes it.
type imported struct {
	stanza stanza.Route
	config adapters.RouteConfig
}

// save writes a new file, or standard output.
func (a *app) save(path string, data []byte) error {
	if path == "" || path == "-" {
		_, err := a.stdout.Write(data)
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return ferry.Errorf(ferry.CodeBadConfig, "%s is there already, and is not written over", path).
			WithHint("name another file, and take from it what is missing")
	}
	if err != nil {
		return fmt.Errorf("the file cannot be written: %w", err)
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// credentials writes auth: with references for its secrets, and settles what the
// source leaves open so that it loads. Empty: none is known, or it is of a kind
// that there is not.
func credentials(c httpauth.Config, destination string) (httpauth.Config, string) {
	if c.Type == "" {
		return c, ""
	}
	what := map[string]string{httpauth.TypeBasic: "PASSWORD", httpauth.TypeNTLM: "PASSWORD", httpauth.TypeOAuth2: "CLIENT_SECRET"}[c.Type]
	if what == "" {
		what = "KEY"
	}
	name := stanza.Variable(destination, what)
	for _, attempt := range []func(){
		func() {},
		func() { c.TokenURL = "" }, // relative, or without TLS
		func() { c.Scopes, c.Username, c.ClientID = nil, "", "" },
	} {
		attempt()
		full := complete(c, secret.Ref("env:"+name))
		if full.Validate() == nil {
			return full, apispec.ShowAuth(full, name)
		}
	}
	return httpauth.Config{}, ""
}

// complete fills in what auth: cannot do without.
func complete(c httpauth.Config, ref secret.Ref) httpauth.Config {
	set := func(to *string, value string) {
		if *to == "" {
			*to = value
		}
	}
	switch c.Type {
	case httpauth.TypeAPIKey:
		c.Key = ref
	case httpauth.TypeBasic, httpauth.TypeNTLM:
		set(&c.Username, "USER")
		c.Password = ref
	case httpauth.TypeOAuth2:
		set(&c.TokenURL, "https://login.example/oauth2/token")
		set(&c.ClientID, "CLIENT-ID")
		c.ClientSecret = ref
	}
	return c
}

func sentences(message, hint string) string {
	if hint == "" {
		return message
	}
	return message + " (" + hint + ")"
}
