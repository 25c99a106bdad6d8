package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"ferry"
	"ferry/shape"
)

// EditChecker holds corrected bodies to what their route asks for.
type EditChecker interface {
	// CheckEdit says where a body breaks the schema of the message's version; nil when
	// it does not, or when there is none.
	CheckEdit(ctx context.Context, id ferry.ID, body []byte, contentType string) error
}

// versionHeader names the version of a route that a message is of.
const versionHeader = "Ferry-Version"

// versions lists the calls that name a version in their path.
func versions() []endpoint {
	const text = "As the call without a version in its path. The header Ferry-Version and the parameters version and api-version name one too; see the route's configuration for others. Of a version that ends, the answer has the headers Deprecation, Sunset and Link."
	path := "/v1/routes/{route}/versions/{version}/messages"
	return []endpoint{
		{
			method: http.MethodPost, path: path, id: "sendMessageOfVersion", roles: senders, sends: true, handle: (*call).send,
			summary: "Send a message of a version of a route", text: text, params: sendParams(), body: &body{text: "the payload"},
			answers: []reply{
				{201, "the message is on disk", ferry.Accepted{}, nil, []string{"Location"}},
				{200, "the key was known with the same body, or the body replaced that of a dead letter", ferry.Accepted{}, nil, nil},
			},
		},
		{
			method: http.MethodPost, path: path + "/batch", id: "sendBatchOfVersion", roles: senders, sends: true, handle: (*call).sendBatch,
			summary: "Send up to 500 messages of a version of a route", text: text, params: batchParams(),
			body:    batchBody(),
			answers: []reply{{200, "one result per message", BatchAnswer{}, nil, nil}},
		},
		{
			method: http.MethodPost, path: path + "/wait", id: "sendMessageOfVersionAndWait", roles: senders, sends: true, handle: (*call).sendAndWait,
			summary: "Send a message of a version of a route and wait for its end", text: text,
			params: append(sendParams(), waitParams()...), body: &body{text: "the payload"},
			answers: []reply{{202, "the message is on disk; its end is at the Location", ferry.Accepted{}, nil, []string{"Location", "Retry-After"}}},
		},
	}
}

func batchParams() []param {
	return append([]param{{name: "partial", in: inQuery, kind: "boolean", text: "each message stands for itself"}}, versionParams()...)
}

func batchBody() *body {
	return &body{of: []BatchItem{}, types: []string{shape.EventBatchType}}
}

// eventTypes are what an envelope may be asked for as, beside JSON.
func eventTypes() []string { return []string{shape.EventType} }

func versionParams() []param {
	const text = "which version of the route the message is of; default the route's default version"
	return []param{
		{name: versionHeader, in: inHeader, text: text},
		{name: "version", in: inQuery, text: text},
		{name: "api-version", in: inQuery, text: text},
	}
}

// version is the version of the route that the request names: in its path, a header
// or the query; empty for none. Places that disagree are refused.
func (c *call) version(route *ferry.Route) (string, error) {
	version, given, err := c.option(versionHeader, "version")
	if err != nil {
		return "", err
	}
	also := func(where, value string) {
		switch {
		case err != nil || value == "":
		case given && value != version:
			err = disagree(where, "the version elsewhere")
		default:
			version, given = value, true
		}
	}
	also("the path", c.r.PathValue("version"))
	if len(route.Versions) > 0 && c.ep.queryNames["version"] { // else it is that of an API of Azure
		also("api-version", c.q("api-version"))
	}
	if by := route.VersionBy.Header; by != "" {
		for _, v := range c.r.Header.Values(by) {
			also(by, v)
		}
	}
	if by := route.VersionBy.Query; by != "" {
		for _, v := range c.query[by] {
			also(by, v)
		}
	}
	if err == nil && version != "" && route.Version(version) == nil {
		err = route.NoVersion(version)
	}
	return version, err
}

// namesVersion says whether a parameter of the query is the one by which the route
// of the path is told the version.
func (c *call) namesVersion(name string) bool {
	if !c.ep.queryNames["version"] {
		return false
	}
	route, ok := c.api.svc.Route(c.r.PathValue("route"))
	return ok && name != "" && route.VersionBy.Query == name
}

// parting tells the sender of a version that is to end, in the headers of RFC 9745
// and RFC 8594.
func (c *call) parting(route *ferry.Route, version string) {
	if version == "" {
		return
	}
	v := route.Version(version)
	if v == nil {
		return
	}
	h := c.w.Header()
	if !v.Deprecated.IsZero() {
		h.Set("Deprecation", "@"+strconv.FormatInt(v.Deprecated.Unix(), 10))
	}
	if !v.Sunset.IsZero() {
		h.Set("Sunset", v.Sunset.UTC().Format(http.TimeFormat))
	}
	if v.Link != "" && (!v.Deprecated.IsZero() || !v.Sunset.IsZero()) {
		rel := "deprecation"
		if v.Deprecated.IsZero() {
			rel = "sunset"
		}
		h.Set("Link", "<"+v.Link+`>; rel="`+rel+`"`)
	}
}

// headerEvent takes the attributes of a CloudEvent that stand in headers, where the
// route takes CloudEvents.
func (c *call) headerEvent(m *ferry.Message, route *ferry.Route) error {
	if !route.CloudEvents || strings.HasPrefix(strings.ToLower(m.ContentType), "application/cloudevents") {
		return nil
	}
	e, fault := shape.HeaderEvent(c.r.Header)
	if fault != nil {
		return fault
	}
	if e == nil {
		return nil
	}
	for name := range e.Attributes {
		delete(m.Properties, "ce-"+name) // the way of Service Bus, headers are properties as they are
	}
	e.ContentType = m.ContentType
	if fault := e.Describe(m); fault != nil {
		return fault
	}
	return nil
}

// eventItem makes a message of an event of a batch of CloudEvents.
func eventItem(raw json.RawMessage, m *ferry.Message, route *ferry.Route) *ferry.Error {
	if limit := maxBytes(route); int64(len(raw)) > limit {
		return ferry.Errorf(ferry.CodeTooLarge, "the event is larger than %d bytes", limit)
	}
	m.Body, m.ContentType = raw, shape.EventType
	return nil
}

// eventBatch says whether the request is a batch of CloudEvents.
func (c *call) eventBatch(route *ferry.Route) (bool, error) {
	if !shape.IsEventBatch(c.r.Header.Get("Content-Type")) {
		return false, nil
	}
	if !route.CloudEvents {
		return false, ferry.Errorf(ferry.CodeUnsupportedMedia, "the route %s takes no CloudEvents", route.Name).
			WithHint("cloudEvents: true in the route's configuration lets it")
	}
	return true, nil
}

// wants says whether the caller asks for a content type by its name.
func (c *call) wants(contentType string) bool {
	for _, v := range c.r.Header["Accept"] {
		for part := range strings.SplitSeq(v, ",") {
			media, parameters, _ := strings.Cut(strings.TrimSpace(part), ";")
			if strings.EqualFold(strings.TrimSpace(media), contentType) && strings.ReplaceAll(parameters, " ", "") != "q=0" {
				return true
			}
		}
	}
	return false
}

// answerEnvelope answers a completed envelope, as a CloudEvent where one is asked for.
func (c *call) answerEnvelope(status int, e *ferry.Envelope) error {
	c.w.Header().Add("Vary", "Accept")
	if !c.wants(shape.EventType) {
		return c.json(status, e)
	}
	event, err := shape.CloudEvent(e, c.publicURL(), encode(e))
	if err != nil {
		return err
	}
	c.w.Header()["Content-Type"] = []string{shape.EventType}
	c.write(status, event)
	return nil
}

// nextAfterHeader tells where the next page of events begins, where the answer has no
// room for it.
const nextAfterHeader = "Ferry-Next-After"

// answerEvents answers a page of ends as a batch of CloudEvents.
func (c *call) answerEvents(page *ferry.EventPage) error {
	b := []byte{'['}
	for i := range page.Items {
		if i > 0 {
			b = append(b, ',')
		}
		e := &page.Items[i].Message
		event, err := shape.CloudEvent(e, c.publicURL(), encode(e))
		if err != nil {
			return err
		}
		b = append(b, event...)
	}
	c.w.Header().Set(nextAfterHeader, page.NextAfter)
	c.w.Header()["Content-Type"] = []string{shape.EventBatchType}
	c.write(http.StatusOK, append(b, ']'))
	return nil
}

// maxBatchDetails bounds what is told of the faults of a batch.
const maxBatchDetails = 1000

// inBody puts the place of a message's body before the pointers of a fault.
func inBody(f *ferry.Error, at string) *ferry.Error {
	for i := range f.Details {
		f.Details[i].Pointer = at + f.Details[i].Pointer
	}
	return f
}

// itemDetails are the faults of message i as those of its batch. pointer is where in
// the message the one fault is; empty: its details say it.
func itemDetails(i int, pointer string, f *ferry.Error) []ferry.ErrorDetail {
	at := "/" + strconv.Itoa(i)
	if pointer != "" || len(f.Details) == 0 {
		return []ferry.ErrorDetail{{Detail: string(f.Code) + ": " + f.Message, Pointer: at + pointer}}
	}
	list := make([]ferry.ErrorDetail, len(f.Details))
	for j, d := range f.Details {
		list[j] = ferry.ErrorDetail{Detail: string(f.Code) + ": " + d.Detail, Pointer: at + d.Pointer}
	}
	return list
}
