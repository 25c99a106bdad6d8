package ferry

import (
	"encoding/json"
	"strings"
	"time"
)

// What a route may take beside, or in place of, JSON; it is turned into JSON.
const (
	AcceptJSON = "json"
	AcceptXML  = "xml"
	AcceptForm = "form" // application/x-www-form-urlencoded
)

// Form is what a payload may be and what it is turned into at the door: that of a
// route, or of one of its versions.
type Form struct {
	Schema json.RawMessage // JSON Schema 2020-12, or of the draft that its $schema names; nil: any payload
	// Accept are the content types that are taken: AcceptJSON and the others. Nil: any,
	// with a schema or a request program JSON alone.
	Accept  []string
	Request string // jq over the payload as it came: what is kept and delivered; empty: as it came
	Result  string // jq over the destination's result: what the sender is told; empty: as it came
}

// XML is how XML and forms become JSON.
type XML struct {
	// ForceArray are places, as JSON pointers with * for any member, that are arrays
	// however many elements or values there are.
	ForceArray []string
	// KeepPrefixes keeps the prefixes of names, and the declarations of namespaces.
	KeepPrefixes bool
}

// RouteVersion is one version of a route.
type RouteVersion struct {
	Name string
	Form
	// As is the version that the worker is told: another one where Request makes that
	// one's payload of this one's. Empty: Name.
	As string
	// Default: what messages are that name no version.
	Default bool
	// Deprecated and Sunset are told to its senders, with Link for more; zero: not.
	Deprecated, Sunset time.Time
	Link               string
}

// VersionBy says where, beside the path, a message names its version.
type VersionBy struct {
	Header string // of the request, beside Ferry-Version
	Query  string // parameter of the request, beside version and api-version
	Field  string // jq over the payload, asked when the request says nothing
}

// Limits of versions.
const (
	MaxVersions      = 20
	MaxVersionLength = 32
)

// ValidVersion checks a version's name: 1 to 32 lower-case letters, digits, dots and
// dashes, a letter or a digit first.
func ValidVersion(name string) *Error {
	ok := name != "" && len(name) <= MaxVersionLength && name[0] != '.' && name[0] != '-'
	for i := 0; ok && i < len(name); i++ {
		c := name[i]
		ok = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '-'
	}
	if !ok {
		return Errorf(CodeBadName, "%q cannot be the name of a version", clip(name, 64)).
			WithHint("1 to %d lower-case letters, digits, dots and dashes, such as v2 or 2026-11-26", MaxVersionLength)
	}
	return nil
}

// Version gives the version of that name, the default one for none; nil when there
// is no such version, or no default one.
func (r *Route) Version(name string) *RouteVersion {
	for i := range r.Versions {
		if v := &r.Versions[i]; v.Name == name || name == "" && v.Default {
			return v
		}
	}
	return nil
}

// NoVersion is the answer to a version that the route does not have.
func (r *Route) NoVersion(name string) *Error {
	if len(r.Versions) == 0 {
		return Errorf(CodeVersionNotFound, "the route %s has no versions, and %q is asked for", r.Name, clip(name, 64)).
			WithHint("leave the version out")
	}
	names := make([]string, len(r.Versions))
	for i := range r.Versions {
		names[i] = r.Versions[i].Name
	}
	return Errorf(CodeVersionNotFound, "the route %s has no version %q", r.Name, clip(name, 64)).
		WithHint("it has %s", strings.Join(names, ", "))
}
