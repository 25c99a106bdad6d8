package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"time"

	"ferry"
	"ferry/shape"
)

// RouteForm is what bodies may be and what they are turned into: of a route, or of
// one of its versions.
type RouteForm struct {
	// Schema is the path of the JSON Schema that bodies must be true to; default none;
	// with the files that it refers to 1 MiB.
	Schema string `yaml:"schema"`
	// Accept are the content types that are taken: json, and xml and form, which are
	// turned into JSON. Default any, with schema or request json.
	Accept []string `yaml:"accept"`
	// Request is jq over the body: what is kept and delivered; default the body.
	Request string `yaml:"request"`
	// Result is jq over the destination's result: what the sender is told; default
	// that result.
	Result string `yaml:"result"`

	schema json.RawMessage // what the file holds
}

// RouteVersion is a version of a route of broker.yaml. What it does not say is as
// in the route.
type RouteVersion struct {
	Name      string `yaml:"name"`
	RouteForm `yaml:",inline"`
	// DeliverAs is the version that the worker is told; default Name.
	DeliverAs string `yaml:"deliverAs"`
	// Default: messages that name no version are of this one; default false.
	Default bool `yaml:"default"`
	// Deprecated and Sunset are days, or times, that its senders are told, in headers
	// of the answers; default none.
	Deprecated string `yaml:"deprecated"`
	Sunset     string `yaml:"sunset"`
	// Link is the URL of a page about that; default none.
	Link string `yaml:"link"`

	deprecated, sunset time.Time
}

// VersionBy says where, beside the path, a message names its version.
type VersionBy struct {
	Header string `yaml:"header"` // of the request, beside Ferry-Version
	Query  string `yaml:"query"`  // parameter of the request, beside version and api-version
	Field  string `yaml:"field"`  // jq over the body, asked when the request says nothing
}

// XMLForm is how XML and forms become JSON.
type XMLForm struct {
	// ForceArray are places, as JSON pointers with * for any name, that are arrays
	// however many elements there are; at most 100.
	ForceArray []string `yaml:"forceArray"`
	// KeepPrefixes keeps the prefixes of names, and the declarations of namespaces;
	// default false.
	KeepPrefixes bool `yaml:"keepPrefixes"`
}

func (f *RouteForm) form() ferry.Form {
	return ferry.Form{Schema: f.schema, Accept: f.Accept, Request: f.Request, Result: f.Result}
}

// setForm puts what the file says of forms and versions into the route.
func (r *BrokerRoute) setForm(into *ferry.Route) {
	into.Schema, into.Accept, into.Request, into.Result = r.schema, r.Accept, r.Request, r.Result
	into.CloudEvents = r.CloudEvents
	into.XML = ferry.XML{ForceArray: r.XML.ForceArray, KeepPrefixes: r.XML.KeepPrefixes}
	into.VersionBy = ferry.VersionBy{Header: r.VersionBy.Header, Query: r.VersionBy.Query, Field: r.VersionBy.Field}
	for i := range r.Versions {
		v := &r.Versions[i]
		one := ferry.RouteVersion{
			Name: v.Name, Form: v.form(), Default: v.Default,
			Deprecated: v.deprecated, Sunset: v.sunset, Link: v.Link,
		}
		if v.DeliverAs != v.Name {
			one.As = v.DeliverAs
		}
		into.Versions = append(into.Versions, one)
	}
}

// checkForm loads the route's schemas and compiles what its forms are made of.
func (r *BrokerRoute) checkForm(d *decoder, path string) {
	r.RouteForm.check(d, path)
	if len(r.Versions) > ferry.MaxVersions {
		d.at(path+".versions", "", "%s.versions has %d entries, %d at most", path, len(r.Versions), ferry.MaxVersions)
		return
	}
	byDefault := ""
	first := map[string]int{}
	for i := range r.Versions {
		v, at := &r.Versions[i], fmt.Sprintf("%s.versions[%d]", path, i)
		v.check(d, at, &r.RouteForm)
		if line, twice := first[v.Name]; twice {
			d.at(at+".name", "", "the version %s stands here twice, first on line %d", clip(v.Name), line)
		}
		first[v.Name] = d.line(at + ".name")
		if v.Default {
			if byDefault != "" {
				d.at(at+".default", "", "%s.default: %s is the default version already", at, byDefault)
			}
			byDefault = v.Name
		}
		if r.VersionBy.Field != "" && d.has(at+".accept") {
			d.at(at+".accept", "move it to the route", "%s.accept: the version is found in the body, which has to be read first", at)
		}
	}
	if len(r.Versions) == 0 && d.has(path+".versionBy") {
		d.at(path+".versionBy", "add versions:, or take it out", "%s.versionBy: the route has no versions", path)
	}
	if len(d.problems) > 0 {
		return // what follows compiles all of it together
	}
	var route ferry.Route
	route.Name = r.Name
	r.setForm(&route)
	if _, err := shape.New(&route); err != nil {
		message, hint := sentence(err)
		d.at(path, hint, "%s: %s", path, message)
	}
}

func (f *RouteForm) check(d *decoder, path string) {
	f.schema = d.loadSchema(path+".schema", f.Schema)
	d.checkJQ(path+".request", f.Request, shape.RequestVariables()...)
	d.checkJQ(path+".result", f.Result, shape.ResultVariables()...)
	for i, kind := range f.Accept {
		d.checkOneOf(fmt.Sprintf("%s.accept[%d]", path, i), kind, ferry.AcceptJSON, ferry.AcceptXML, ferry.AcceptForm)
	}
}

func (v *RouteVersion) check(d *decoder, path string, of *RouteForm) {
	if v.Name == "" {
		d.at(path, "add name:, such as v2", "%s has no name", path)
	} else if err := ferry.ValidVersion(v.Name); err != nil {
		d.at(path+".name", err.Hint, "%s.name: %s", path, err.Message)
	}
	if v.DeliverAs != "" {
		if err := ferry.ValidVersion(v.DeliverAs); err != nil {
			d.at(path+".deliverAs", err.Hint, "%s.deliverAs: %s", path, err.Message)
		}
	}
	v.RouteForm.check(d, path)
	if !d.has(path + ".schema") {
		v.schema = of.schema
	}
	if !d.has(path + ".accept") {
		v.Accept = of.Accept
	}
	if !d.has(path + ".request") {
		v.Request = of.Request
	}
	if !d.has(path + ".result") {
		v.Result = of.Result
	}
	v.deprecated = d.moment(path+".deprecated", v.Deprecated)
	v.sunset = d.moment(path+".sunset", v.Sunset)
	if !v.deprecated.IsZero() && !v.sunset.IsZero() && v.sunset.Before(v.deprecated) {
		d.at(path+".sunset", "", "%s.sunset is before deprecated", path)
	}
	if v.Link == "" {
		return
	}
	if u, err := url.Parse(v.Link); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || len(v.Link) > maxLink {
		d.at(path+".link", "write it like https://contoso.example/api/v1-ends", "%s.link is not a URL that can be used here", path)
	}
}

const maxLink = 1 << 10

// moment reads a day (the beginning of it, in UTC) or a time with an offset.
func (d *decoder) moment(path, text string) time.Time {
	if text == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		t, err = time.Parse(time.RFC3339, text)
	}
	if err != nil || t.Year() < 1970 || t.Year() > 9999 {
		d.at(path, "write 2027-06-30, or 2027-06-30T18:00:00+02:00", "%s: %q is neither a day nor a time with an offset", path, clip(text))
		return time.Time{}
	}
	return t.UTC()
}

// loadSchema reads the JSON Schema at a path, with the files that it refers to,
// and checks that it can be used.
func (d *decoder) loadSchema(path, file string) json.RawMessage {
	if file == "" {
		return nil
	}
	document, err := shape.Bundle(file, readSchema)
	if err == nil {
		_, err = shape.CompileSchema(document)
	}
	if err != nil {
		message, hint := sentence(err)
		d.at(path, hint, "%s: %s: %s", path, clip(file), message)
		return nil
	}
	return document
}

func readSchema(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err == nil {
		defer func() { _ = f.Close() }() // read only: nothing to lose
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(f, shape.MaxSchema+1)); err == nil {
			return data, nil
		}
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return nil, ferry.Errorf(ferry.CodeBadConfig, "%s cannot be read: %v", clip(name), err).
		WithHint("relative paths count from the working directory, and in a schema's $ref from the schema's file")
}
