package servicebus

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus/admin"

	"ferry"
)

// Admin looks at queues and makes them, over HTTPS. It needs the right Manage.
type Admin struct {
	client *Client
}

// QueueInfo is what a namespace says of a queue.
type QueueInfo struct {
	Name               string
	Lock               time.Duration
	DuplicateWindow    time.Duration // 0: duplicates are not detected
	MaxDeliveries      int
	TimeToLive         time.Duration // 0: no end
	DeadLetterOnExpiry bool
	MaxMessageKiB      int64 // 0: the namespace does not say (Standard and Basic: 256)
	RequiresSession    bool
	Partitioned        bool
	Created            time.Time
	Active, Dead       int64 // messages
}

// QueueSpec says how a queue is made. Zero values leave the service's defaults.
type QueueSpec struct {
	Name               string
	Lock               time.Duration // at most 5 min
	DuplicateWindow    time.Duration // 20 s to 7 d; 0: duplicates are not detected
	MaxDeliveries      int
	TimeToLive         time.Duration
	DeadLetterOnExpiry bool
	MaxMessageKiB      int64 // Premium only
}

// Admin is the handle for looking at queues and making them.
func (c *Client) Admin() *Admin { return &Admin{client: c} }

// Queue looks at a queue. ErrNotFound: there is none; ErrUnauthorized: no right
// to look. Without a deadline it takes at most 30 s.
func (a *Admin) Queue(ctx context.Context, name string) (QueueInfo, error) {
	info := QueueInfo{Name: name}
	err := a.do(ctx, "look at the queue "+name, func(ctx context.Context, client *admin.Client) error {
		got, err := client.GetQueue(ctx, name, nil)
		if err != nil {
			return err
		}
		if got == nil {
			return ErrNotFound
		}
		if info, err = infoOf(name, got.QueueProperties); err != nil {
			return err
		}
		counts, err := client.GetQueueRuntimeProperties(ctx, name, nil)
		if err != nil {
			return err
		}
		if counts == nil {
			return ErrNotFound // gone meanwhile
		}
		info.Created = counts.CreatedAt
		info.Active, info.Dead = int64(counts.ActiveMessageCount), int64(counts.DeadLetterMessageCount)
		return nil
	})
	return info, err
}

// Create makes a queue, and says whether it was made: false when it is there
// already, whatever its settings. ErrUnauthorized: no right to make it; ErrRefused:
// the namespace's tier cannot do what is wanted, such as detecting duplicates on Basic.
func (a *Admin) Create(ctx context.Context, spec QueueSpec) (made bool, err error) {
	err = a.do(ctx, "make the queue "+spec.Name, func(ctx context.Context, client *admin.Client) error {
		_, err := client.CreateQueue(ctx, spec.Name, &admin.CreateQueueOptions{Properties: spec.properties()})
		if there, ok := errors.AsType[*azcore.ResponseError](err); ok && there.StatusCode == http.StatusConflict {
			return nil
		}
		made = err == nil
		return err
	})
	return made, err
}

func (s QueueSpec) properties() *admin.QueueProperties {
	p := &admin.QueueProperties{DeadLetteringOnMessageExpiration: &s.DeadLetterOnExpiry}
	if s.Lock > 0 {
		p.LockDuration = iso(s.Lock)
	}
	if s.DuplicateWindow > 0 {
		yes := true
		p.RequiresDuplicateDetection, p.DuplicateDetectionHistoryTimeWindow = &yes, iso(s.DuplicateWindow)
	}
	if s.MaxDeliveries > 0 {
		n := int32(min(s.MaxDeliveries, 1<<31-1)) //nolint:gosec // bounded
		p.MaxDeliveryCount = &n
	}
	if s.TimeToLive > 0 {
		p.DefaultMessageTimeToLive = iso(s.TimeToLive)
	}
	if s.MaxMessageKiB > 0 {
		p.MaxMessageSizeInKilobytes = &s.MaxMessageKiB
	}
	return p
}

func infoOf(name string, p admin.QueueProperties) (QueueInfo, error) {
	info := QueueInfo{
		Name: name, MaxDeliveries: int(value(p.MaxDeliveryCount)), DeadLetterOnExpiry: value(p.DeadLetteringOnMessageExpiration),
		MaxMessageKiB: value(p.MaxMessageSizeInKilobytes), RequiresSession: value(p.RequiresSession), Partitioned: value(p.EnablePartitioning),
	}
	var err error
	if info.Lock, err = duration(p.LockDuration); err != nil {
		return info, err
	}
	if value(p.RequiresDuplicateDetection) {
		if info.DuplicateWindow, err = duration(p.DuplicateDetectionHistoryTimeWindow); err != nil {
			return info, err
		}
	}
	// The service writes "no end" as some 29,000 years, which no time.Duration holds.
	info.TimeToLive, err = duration(p.DefaultMessageTimeToLive)
	if err != nil {
		info.TimeToLive = 0
	}
	return info, nil
}

func value[T any](p *T) T {
	var none T
	if p == nil {
		return none
	}
	return *p
}

func duration(s *string) (time.Duration, error) {
	if s == nil || *s == "" {
		return 0, nil
	}
	return ferry.ParseDuration(*s)
}

// do asks within limits: two attempts, 30 s in all when ctx has no deadline.
func (a *Admin) do(ctx context.Context, what string, fn func(context.Context, *admin.Client) error) error {
	c := a.client
	if c.closing() {
		return ErrClosed
	}
	within := ctx
	if _, has := ctx.Deadline(); !has {
		limited, stop := context.WithTimeout(ctx, c.timing.open)
		defer stop()
		within = limited
	}
	transport := c.adminTransport()
	defer transport.close()
	client, err := c.newAdmin(transport)
	if err == nil {
		err = fn(within, client)
	}
	if answer, ok := errors.AsType[*azcore.ResponseError](err); ok {
		err = fmt.Errorf("%w: HTTP %d: %s", kindOfStatus(answer.StatusCode), answer.StatusCode, reason(answer))
	}
	return c.wrap(ctx, what, err)
}

// reason is what the service says of its refusal. The SDK's own text is the whole
// exchange, over many lines.
func reason(answer *azcore.ResponseError) string {
	const most = 300
	var said struct {
		Detail string `xml:"Detail"`
	}
	if answer.RawResponse != nil && answer.RawResponse.Body != nil {
		_ = xml.NewDecoder(io.LimitReader(answer.RawResponse.Body, 64<<10)).Decode(&said) // best effort
	}
	text := strings.Join(strings.Fields(said.Detail), " ")
	if text == "" {
		text = answer.ErrorCode
	}
	return text[:min(len(text), most)]
}

func (c *Client) newAdmin(transport policy.Transporter) (*admin.Client, error) {
	options := &admin.ClientOptions{ClientOptions: azcore.ClientOptions{
		Transport: transport,
		Telemetry: policy.TelemetryOptions{ApplicationID: c.cfg.ApplicationID},
		Retry:     policy.RetryOptions{MaxRetries: 1, TryTimeout: c.timing.ask, RetryDelay: c.timing.paceFirst, MaxRetryDelay: c.timing.busy},
	}}
	if c.cfg.ConnectionString != "" {
		return admin.NewClientFromConnectionString(c.cfg.ConnectionString, options)
	}
	return admin.NewClient(c.cfg.Namespace, c.credential(), options)
}
