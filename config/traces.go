package config

import (
	"maps"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"

	"ferry/secret"
)

// Traces is where spans go, of broker or worker; default nowhere.
type Traces struct {
	// OTLP is the collector that takes them.
	OTLP OTLP `yaml:"otlp"`
	// Sample is the share of traces that are recorded of those which begin here, from 0
	// to 1; default 0.1. A sender's trace is recorded when the sender records it.
	Sample *float64 `yaml:"sample"`
}

// OTLP is a collector that takes OTLP over HTTP.
type OTLP struct {
	// Endpoint is its address, such as http://127.0.0.1:4318 or
	// https://otlp.example/v1/traces; without a path /v1/traces.
	Endpoint string `yaml:"endpoint"`
	// Headers are sent along, such as authorization: secrets, by reference; at most 20.
	Headers map[string]secret.Ref `yaml:"headers"`
	// CA is a file of certificates in PEM that are trusted beside the system's.
	CA string `yaml:"ca"`
}

const (
	defaultSample   = 0.1
	maxTraceHeaders = 20
)

// Share is Sample, or what it is when the file says nothing.
func (t *Traces) Share() float64 {
	if t.Sample == nil {
		return defaultSample
	}
	return *t.Sample
}

func (t *Traces) check(d *decoder) {
	if t == nil {
		return
	}
	const endpoint = "traces.otlp.endpoint"
	if t.OTLP.Endpoint == "" {
		d.at("traces", "add otlp: {endpoint: http://127.0.0.1:4318}", "traces name no collector")
	} else {
		d.checkURL(endpoint, t.OTLP.Endpoint, "http://127.0.0.1:4318", "http", "https")
		if u, err := url.Parse(t.OTLP.Endpoint); err == nil && (u.User != nil || u.RawQuery != "") {
			d.at(endpoint, "put it into headers, as a reference", "%s holds what logs on, or a query", endpoint)
		}
	}
	if s := t.Share(); !(s >= 0 && s <= 1) { // nor NaN
		d.at("traces.sample", "write a share, such as 0.1 for one trace in ten", "traces.sample is not from 0 to 1")
	}
	if len(t.OTLP.Headers) > maxTraceHeaders {
		d.at("traces.otlp.headers", "", "traces.otlp.headers has %d entries, %d at most", len(t.OTLP.Headers), maxTraceHeaders)
	}
	for _, name := range slices.Sorted(maps.Keys(t.OTLP.Headers)) {
		if !isHeaderName(name) {
			d.at("traces.otlp.headers", "such as authorization", "traces.otlp.headers: %q names no header that can be set", clip(name))
		}
	}
	d.checkFile("traces.otlp.ca", t.OTLP.CA)
}

// isHeaderName says whether a header of that name may be set beside those of the
// request itself.
func isHeaderName(name string) bool {
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "", "Host", "Content-Length", "Content-Type", "Content-Encoding", "Connection", "Transfer-Encoding":
		return false
	}
	return http.CanonicalHeaderKey(name) != ""
}
