package intake

import (
	"strings"

	"ferry"
	"ferry/shape"
)

// versionProperty names the version of the route that a message is of; a route may
// have another name for it beside.
const versionProperty = "Ferry-Version"

// version is the one that the message's properties name; empty for none.
func (a *arrival) version(route *ferry.Route) string {
	for name, value := range a.properties {
		if strings.EqualFold(name, versionProperty) || route.VersionBy.Header != "" && strings.EqualFold(name, route.VersionBy.Header) {
			return value
		}
	}
	return ""
}

// event takes apart a CloudEvent whose attributes are properties (the AMQP binding
// writes them cloudEvents:NAME or cloudEvents_NAME), where the route takes such. One
// that is whole in the body is the broker's to take apart. The event's source and id
// make the key: the MessageId is what many clients make up anew each time. It is kept
// as a property.
func (a *arrival) event(m *ferry.Message, route *ferry.Route) *ferry.Error {
	if !route.CloudEvents {
		return nil
	}
	e, fault := shape.PropertyEvent(a.properties)
	if e == nil && fault == nil {
		if shape.IsEvent(m.ContentType) {
			a.unnamed(m)
		}
		return nil
	}
	if fault != nil {
		return fault
	}
	for name := range a.properties {
		if shape.IsEventProperty(name) {
			delete(a.properties, name)
		}
	}
	a.unnamed(m)
	e.ContentType = m.ContentType
	return e.Describe(m)
}

// unnamed takes the key that the MessageId made back.
func (a *arrival) unnamed(m *ferry.Message) {
	a.keep(propMessageID, a.id)
	m.IdempotencyKey, m.Properties = "", a.properties
}
