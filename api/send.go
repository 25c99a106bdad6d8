package api

import (
	"net/http"
	"strconv"
	"strings"

	"ferry"
)

// send takes one message: the body is the payload. This is the hot path: no
// reflection, and the answer is put together by hand.
func (c *call) send() error {
	accepted, err := c.take()
	if err != nil {
		return err
	}
	c.answerAccepted(&accepted)
	return nil
}

// take reads the message of the request and accepts it.
func (c *call) take() (ferry.Accepted, error) {
	var none ferry.Accepted
	route, err := c.knownRoute()
	if err != nil {
		return none, err
	}
	if err := c.checkEncoding(); err != nil {
		return none, err
	}
	m := c.message(&route)
	if m.ContentType, err = contentType(c.r.Header); err != nil {
		return none, err
	}
	if m.Properties, err = c.properties(); err != nil {
		return none, err
	}
	options, err := c.options()
	if err != nil {
		return none, err
	}
	if options.correlationID == "" {
		options.correlationID = trackedAs(m.Sender.Flow)
	}
	if fault, _ := options.apply(&m, &route); fault != nil {
		return none, fault
	}
	if m.Version, err = c.version(&route); err != nil {
		return none, err
	}
	if err := c.headerEvent(&m, &route); err != nil {
		return none, err
	}
	if options.bodyRef != "" {
		err = c.takeReferred(&m, options.bodyRef, maxBytes(&route))
	} else {
		err = c.takePayload(&m, maxBytes(&route))
	}
	if err != nil {
		return none, err
	}
	if m.BodySize() == 0 && !route.AllowEmpty {
		return none, emptyBody()
	}
	accepted, err := c.api.svc.Accept(c.ctx(), m)
	if err != nil {
		return none, err
	}
	c.took(&accepted)
	c.parting(&route, accepted.Version)
	c.observeAccept()
	return accepted, nil
}

// answerAccepted is 201 for a new message and 200 for one that was known. Never
// 202: a flow that gets 202 with a Location waits.
func (c *call) answerAccepted(a *ferry.Accepted) {
	a.StatusURL = c.statusURL(a.ID)
	h := c.w.Header()
	h["Content-Type"] = jsonType
	status := http.StatusOK
	if !a.Duplicate && a.Revision == 0 {
		status = http.StatusCreated
		h["Location"] = []string{a.StatusURL}
	}
	c.write(status, appendAccepted(make([]byte, 0, 256), a))
}

// appendAccepted writes the answer to one message.
func appendAccepted(b []byte, a *ferry.Accepted) []byte {
	b = append(b, '{')
	b = appendAcceptedMembers(b, a)
	return append(b, '}')
}

func appendAcceptedMembers(b []byte, a *ferry.Accepted) []byte {
	b = append(b, `"id":"`...)
	b = append(b, a.ID.String()...)
	b = append(b, `","route":`...)
	b = appendString(b, a.Route)
	b = append(b, `,"state":`...)
	b = appendString(b, string(a.State))
	b = append(b, `,"duplicate":`...)
	b = strconv.AppendBool(b, a.Duplicate)
	if a.Revision != 0 {
		b = append(b, `,"revision":`...)
		b = strconv.AppendInt(b, int64(a.Revision), 10)
	}
	if a.Version != "" {
		b = appendString(append(b, `,"version":`...), a.Version)
	}
	if !a.PossibleRepeatOf.IsZero() {
		b = append(b, `,"possibleRepeatOf":"`...)
		b = append(append(b, a.PossibleRepeatOf.String()...), '"')
	}
	b = append(b, `,"statusUrl":`...)
	return appendString(b, a.StatusURL)
}

// checkChunks refuses the first request of an upload in chunks of the Logic Apps
// protocol, which says how much is to come and has no body: where an empty body
// means something, it would be taken for that.
func (c *call) checkChunks() error {
	for _, v := range c.r.Header["X-Ms-Transfer-Mode"] {
		if strings.EqualFold(strings.TrimSpace(v), "chunked") {
			return ferry.Errorf(ferry.CodeChunkingNotSupported, "the message comes in chunks of the Logic Apps protocol").
				WithHint("turn off \"Allow chunking\" in the settings of the HTTP action")
		}
	}
	return nil
}

// contentType is the payload's, as sent.
func contentType(h http.Header) (string, error) {
	values := h["Content-Type"]
	if len(values) == 0 {
		return "", nil
	}
	if len(values) > 1 || len(values[0]) > maxContentType || !plain(values[0]) {
		return "", badContentType()
	}
	return values[0], nil
}

func badContentType() *ferry.Error {
	return ferry.Errorf(ferry.CodeUnsupportedMedia, "the content type cannot be read").
		WithHint("one type such as application/json, at most %d bytes", maxContentType)
}

func maxBytes(route *ferry.Route) int64 {
	if route.MaxBytes <= 0 {
		return ferry.DefaultMaxBody
	}
	return min(route.MaxBytes, ferry.MaxBody)
}

func emptyBody() *ferry.Error {
	return ferry.Errorf(ferry.CodeEmptyBody, "the body is empty").
		WithHint("the body of the request is the message; the route takes none that is empty")
}
