package atom

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"math"
	"time"

	"ferry/internal/sbemu/entity"
)

const (
	nsAtom     = "http://www.w3.org/2005/Atom"
	nsQueue    = "http://schemas.microsoft.com/netservices/2010/10/servicebus/connect"
	nsCounts   = "http://schemas.microsoft.com/netservices/2011/06/servicebus"
	nsInstance = "http://www.w3.org/2001/XMLSchema-instance"
)

// feed and entry are what ATOM wraps around what is asked for.
type feed struct {
	XMLName xml.Name `xml:"feed"`
	NS      string   `xml:"xmlns,attr"`
	Title   string   `xml:"title"`
	ID      string   `xml:"id"`
	Updated string   `xml:"updated"`
	Link    link     `xml:"link"`
	Entries []entry
}

type entry struct {
	XMLName   xml.Name `xml:"entry"`
	NS        string   `xml:"xmlns,attr,omitempty"`
	ID        string   `xml:"id"`
	Title     title    `xml:"title"`
	Published string   `xml:"published"`
	Updated   string   `xml:"updated"`
	Author    string   `xml:"author>name"`
	Link      link     `xml:"link"`
	Content   content  `xml:"content"`
}

type title struct {
	Type string `xml:"type,attr"`
	Text string `xml:",chardata"`
}

type link struct {
	Rel  string `xml:"rel,attr"`
	Href string `xml:"href,attr"`
}

type content struct {
	Type  string `xml:"type,attr"`
	Queue *description
	Info  *namespaceInfo
}

type namespaceInfo struct {
	XMLName  xml.Name `xml:"NamespaceInfo"`
	NS       string   `xml:"xmlns,attr"`
	Created  string   `xml:"CreatedTime"`
	SKU      string   `xml:"MessagingSKU"`
	Units    *int     `xml:"MessagingUnits,omitempty"`
	Modified string   `xml:"ModifiedTime"`
	Name     string   `xml:"Name"`
	Type     string   `xml:"NamespaceType"`
}

// description is a queue: its settings, which may be asked for one by one, and what
// only answers have. The order is the service's.
type description struct {
	XMLName      xml.Name `xml:"QueueDescription"`
	NS           string   `xml:"xmlns,attr,omitempty"`
	NSInstance   string   `xml:"xmlns:i,attr,omitempty"`
	Lock         *string  `xml:"LockDuration"`
	MaxMegabytes *int64   `xml:"MaxSizeInMegabytes"`
	Duplicates   *bool    `xml:"RequiresDuplicateDetection"`
	Sessions     *bool    `xml:"RequiresSession"`
	TTL          *string  `xml:"DefaultMessageTimeToLive"`
	DeadOnExpiry *bool    `xml:"DeadLetteringOnMessageExpiration"`
	Window       *string  `xml:"DuplicateDetectionHistoryTimeWindow"`
	MaxDelivery  *int     `xml:"MaxDeliveryCount"`
	Batched      *bool    `xml:"EnableBatchedOperations"`
	Bytes        *int64   `xml:"SizeInBytes"`
	Messages     *int64   `xml:"MessageCount"`
	Anonymous    *bool    `xml:"IsAnonymousAccessible"`
	Status       *string  `xml:"Status"`
	ForwardTo    *string  `xml:"ForwardTo"`
	Metadata     *string  `xml:"UserMetadata"`
	Created      string   `xml:"CreatedAt,omitempty"`
	Updated      string   `xml:"UpdatedAt,omitempty"`
	Accessed     string   `xml:"AccessedAt,omitempty"`
	Ordering     *bool    `xml:"SupportOrdering"`
	Counts       *counts
	OnIdle       *string `xml:"AutoDeleteOnIdle"`
	Partitioned  *bool   `xml:"EnablePartitioning"`
	Availability *string `xml:"EntityAvailabilityStatus"`
	Express      *bool   `xml:"EnableExpress"`
	ForwardDead  *string `xml:"ForwardDeadLetteredMessagesTo"`
	MaxKilobytes *int64  `xml:"MaxMessageSizeInKilobytes"`
}

type counts struct {
	XMLName      xml.Name `xml:"CountDetails"`
	NS           string   `xml:"xmlns:d2p1,attr"`
	Active       int64    `xml:"d2p1:ActiveMessageCount"`
	Dead         int64    `xml:"d2p1:DeadLetterMessageCount"`
	Scheduled    int64    `xml:"d2p1:ScheduledMessageCount"`
	Transfer     int64    `xml:"d2p1:TransferMessageCount"`
	TransferDead int64    `xml:"d2p1:TransferDeadLetterMessageCount"`
}

const defaultWindow = 10 * time.Minute

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.9999999Z") }

// describe shows a queue.
func describe(q *entity.Queue) *description {
	c, n := q.Config(), q.Counts()
	all := n.Active + n.Locked + n.Scheduled + n.Deferred + n.Dead
	window := c.DuplicateWindow
	if window == 0 {
		window = defaultWindow
	}
	return &description{
		NS: nsQueue, NSInstance: nsInstance,
		Lock: new(writeSpan(c.LockDuration)), MaxMegabytes: new(max(c.MaxSizeBytes>>20, 1)), Duplicates: new(c.DuplicateWindow > 0),
		Sessions: &c.RequiresSession, TTL: new(writeSpan(c.DefaultTTL)), DeadOnExpiry: &c.DeadLetterOnExpiry, Window: new(writeSpan(window)),
		MaxDelivery: &c.MaxDelivery, Batched: new(true), Bytes: &n.Bytes, Messages: &all,
		Anonymous: new(false), Availability: new("Available"), Express: new(false), // some clients take no answer without them
		Status: new(string(c.Status)), Metadata: ifSet(c.UserMetadata),
		Created: stamp(q.CreatedAt()), Updated: stamp(q.UpdatedAt()), Accessed: stamp(q.AccessedAt()), Ordering: new(true),
		// A message in a receiver's hands or set aside is still an active one.
		Counts: &counts{NS: nsCounts, Active: n.Active + n.Locked + n.Deferred, Dead: n.Dead, Scheduled: n.Scheduled},
		OnIdle: new(forever), Partitioned: &c.Partitioned, MaxKilobytes: new(max(c.MaxMessageBytes>>10, 1)),
	}
}

func ifSet(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// apply puts what a description says into settings; what it does not say stays.
func (d *description) apply(c *entity.Config) error {
	if given(d.ForwardTo) || given(d.ForwardDead) {
		return fmt.Errorf("%w: messages are not forwarded here", entity.ErrInvalid)
	}
	window := c.DuplicateWindow
	if window == 0 {
		window = defaultWindow
	}
	for _, span := range []struct {
		name string
		text *string
		to   *time.Duration
	}{{"LockDuration", d.Lock, &c.LockDuration}, {"DefaultMessageTimeToLive", d.TTL, &c.DefaultTTL}, {"DuplicateDetectionHistoryTimeWindow", d.Window, &window}} {
		if span.text == nil {
			continue
		}
		v, err := parseSpan(*span.text)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", entity.ErrInvalid, span.name, err)
		}
		*span.to = v
	}
	set(&c.RequiresSession, d.Sessions)
	set(&c.DeadLetterOnExpiry, d.DeadOnExpiry)
	set(&c.MaxDelivery, d.MaxDelivery)
	set(&c.Partitioned, d.Partitioned)
	set(&c.UserMetadata, d.Metadata)
	set((*string)(&c.Status), d.Status)
	detects := c.DuplicateWindow > 0
	set(&detects, d.Duplicates)
	c.DuplicateWindow = 0
	if detects {
		c.DuplicateWindow = cmp.Or(window, defaultWindow)
	}
	for _, size := range []struct {
		name  string
		value *int64
		unit  int64
		to    *int64
	}{{"MaxSizeInMegabytes", d.MaxMegabytes, 1 << 20, &c.MaxSizeBytes}, {"MaxMessageSizeInKilobytes", d.MaxKilobytes, 1 << 10, &c.MaxMessageBytes}} {
		if size.value == nil {
			continue
		}
		if *size.value < 1 || *size.value > math.MaxInt64/size.unit {
			return fmt.Errorf("%w: %s is %d", entity.ErrInvalid, size.name, *size.value)
		}
		*size.to = *size.value * size.unit
		if size.to == &c.MaxMessageBytes {
			c.MaxBatchBytes = 0 // as its default follows
		}
	}
	return nil
}

func given(s *string) bool { return s != nil && *s != "" }

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}
