package api

import (
	"encoding/json"
	"errors"
	"strings"

	"ferry"
)

// batchType is the content type of a batch of Service Bus.
const batchType = "application/vnd.microsoft.servicebus.json"

// queueBatchItem is one message of a batch of Service Bus.
type queueBatchItem struct {
	Body             json.RawMessage
	BrokerProperties json.RawMessage
	UserProperties   map[string]json.RawMessage
}

// sendQueueBatch takes a batch: all of it or nothing.
func (c *call) sendQueueBatch(route *ferry.Route) error {
	data, err := c.readBody(batchLimit(route), "send fewer messages at a time")
	if err != nil {
		return err
	}
	var items []json.RawMessage
	if err := json.Unmarshal(data, &items); err != nil {
		return ferry.Errorf(ferry.CodeBadRequest, "the body is not a JSON array of messages").
			WithHint(`such as [{"Body":"…","BrokerProperties":{"MessageId":"1"},"UserProperties":{"Priority":"High"}}]`)
	}
	switch {
	case len(items) == 0:
		return ferry.Errorf(ferry.CodeInvalid, "the batch has no messages")
	case len(items) > ferry.MaxBatch:
		return ferry.Errorf(ferry.CodeBatchTooLarge, "the batch has %d messages", len(items)).WithHint("at most %d", ferry.MaxBatch)
	}
	if err := c.charge(len(items)); err != nil {
		return err
	}
	version, err := c.version(route)
	if err != nil {
		return err
	}
	messages := make([]ferry.Message, len(items))
	faults, pointers := make([]*ferry.Error, len(items)), make([]string, len(items))
	for i, raw := range items {
		messages[i] = c.message(route)
		messages[i].Version = version
		messages[i].OnConflict = c.r.Header.Get(conflictHeader)
		faults[i], pointers[i] = readQueueItem(raw, &messages[i], route)
		c.track(&messages[i])
	}
	if anyFault(faults) {
		return refusedQueueBatch(faults, pointers)
	}
	accepted, errs, err := c.api.svc.AcceptBatch(c.ctx(), messages, false)
	if err != nil {
		return err
	}
	for i := range accepted {
		c.took(&accepted[i])
	}
	for i, err := range errs {
		if err != nil {
			faults[i] = inBody(c.itemFault(err), "/Body")
		}
	}
	if anyFault(faults) {
		return refusedQueueBatch(faults, pointers)
	}
	c.observeAccept()
	c.answerSent()
	return nil
}

// readQueueItem makes a message of an item; the second result points at the fault
// within the item.
func readQueueItem(raw json.RawMessage, m *ferry.Message, route *ferry.Route) (*ferry.Error, string) {
	var item queueBatchItem
	if raw[0] != '{' || json.Unmarshal(raw, &item) != nil {
		return ferry.Errorf(ferry.CodeInvalid, "a message of a batch is an object with Body, BrokerProperties and UserProperties"), ""
	}
	props, fault := brokerProperties{}, (*ferry.Error)(nil)
	if len(item.BrokerProperties) > 0 && string(item.BrokerProperties) != "null" {
		if props, fault = readBrokerProperties(item.BrokerProperties); fault != nil {
			return fault, "/BrokerProperties"
		}
	}
	if fault := readQueueBody(&item, m); fault != nil {
		return fault, "/Body"
	}
	if ct := props.ContentType.text; ct != "" {
		if len(ct) > maxContentType || !plain(ct) {
			return badContentType(), "/BrokerProperties/ContentType"
		}
		m.ContentType = ct
	}
	if len(m.Body) == 0 && !route.AllowEmpty {
		return ferry.Errorf(ferry.CodeEmptyBody, "the body is empty"), "/Body"
	}
	if limit := maxBytes(route); int64(len(m.Body)) > limit {
		return ferry.Errorf(ferry.CodeTooLarge, "the body is larger than %d bytes", limit), "/Body"
	}
	for name, value := range item.UserProperties {
		var v text
		switch {
		case string(value) == "null":
			continue
		case string(value) == "true" || string(value) == "false":
			v.text = string(value)
		case v.UnmarshalJSON(value) != nil:
			return ferry.Errorf(ferry.CodeInvalid, "the property %q is neither text, a number, true nor false", clip(name)), "/UserProperties"
		}
		if m.Properties == nil {
			m.Properties = map[string]string{}
		}
		m.Properties[name] = v.text
		if strings.EqualFold(name, versionHeader) || route.VersionBy.Header != "" && strings.EqualFold(name, route.VersionBy.Header) {
			m.Version = v.text
		}
	}
	fault, name := props.apply(m, route)
	switch {
	case fault == nil:
		return nil, ""
	case name == "UserProperties":
		return fault, "/UserProperties"
	default:
		return fault, "/BrokerProperties"
	}
}

// readQueueBody takes a string as the text that it is, and any other JSON value to
// the byte.
func readQueueBody(item *queueBatchItem, m *ferry.Message) *ferry.Error {
	switch {
	case len(item.Body) == 0 || string(item.Body) == "null":
	case item.Body[0] == '"':
		var s string
		if err := json.Unmarshal(item.Body, &s); err != nil {
			return ferry.Errorf(ferry.CodeInvalid, "the body cannot be read")
		}
		m.Body = []byte(s)
	default:
		m.Body, m.ContentType = item.Body, "application/json"
	}
	return nil
}

// batchLimit is the largest body of a batch: escapes make bodies longer, but it
// never holds more than the largest body.
func batchLimit(route *ferry.Route) int64 {
	return min(max(16<<20, 2*maxBytes(route)), ferry.MaxBody)
}

func refusedQueueBatch(faults []*ferry.Error, pointers []string) error {
	err := refusedBatch(faults, pointers)
	if e, ok := errors.AsType[*ferry.Error](err); ok {
		return e.WithHint("correct what errors points at; a batch is accepted as a whole")
	}
	return err
}
