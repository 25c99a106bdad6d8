package broker

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ferry"
	"ferry/internal/disk"
)

// Authenticate says whose key this is.
func (b *Broker) Authenticate(_ context.Context, key string) (ferry.Identity, error) {
	return b.ledger.Authenticate(key)
}

// AdminKeyFile is where the first start leaves the first key.
const AdminKeyFile = "admin.key"

// EnsureAdminKey makes the first admin key, when there is none, and writes it to
// the data folder for its owner only. It returns the path when it did. The file is
// on disk before the key is valid: else a full disk or a power cut in between would
// leave a broker with an admin key that nobody knows.
func (b *Broker) EnsureAdminKey(ctx context.Context) (path string, err error) {
	for _, key := range b.ledger.Keys() {
		if key.Role == ferry.RoleAdmin && key.RevokedAt == nil && (key.ExpiresAt == nil || key.ExpiresAt.After(time.Now())) {
			return "", nil
		}
	}
	path = filepath.Join(b.opts.DataDir, AdminKeyFile)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", keyFileError("first admin key", path, err)
	}
	_, err = b.ledger.CreateKeptKey(ctx, ferry.KeySpec{Name: "admin", Role: ferry.RoleAdmin}, "first start", func(text string) error {
		if err := disk.WriteNew(path, []byte(text+"\n"), 0o600); err != nil {
			return keyFileError("first admin key", path, err)
		}
		return nil
	})
	if err != nil {
		_ = os.Remove(path) // its key is not valid; the next start replaces it
		return "", atStart(err)
	}
	return path, nil
}

// keyFileError is an error of writing a key's file at a start.
func keyFileError(what, path string, err error) error {
	if disk.IsFull(err) {
		return ferry.Errorf(ferry.CodeNoSpace, "the %s cannot be written to %s: the disk is full: %w", what, path, err).
			WithHint("make room and start again: the key is made then")
	}
	return ferry.Errorf(ferry.CodeLedgerUnavailable, "the %s cannot be written to %s: %w", what, path, err).
		WithHint("look at the disk and at who may write there, and start again: the key is made then")
}

// CreateKey makes an API key. Its text is in the answer only.
func (b *Broker) CreateKey(ctx context.Context, spec ferry.KeySpec, by string) (ferry.NewKey, error) {
	if err := ferry.ValidName("key", spec.Name); err != nil {
		return ferry.NewKey{}, err
	}
	if !slices.Contains(ferry.Roles(), spec.Role) {
		return ferry.NewKey{}, ferry.Errorf(ferry.CodeInvalid, "there is no role %q", spec.Role).WithHint("one of %v", ferry.Roles())
	}
	if err := b.knownRoutes(spec.Routes); err != nil {
		return ferry.NewKey{}, err
	}
	if len(spec.Environment) > ferry.MaxEnvironmentID {
		return ferry.NewKey{}, ferry.Errorf(ferry.CodeInvalid, "the environment id has more than %d bytes", ferry.MaxEnvironmentID)
	}
	if !spec.Expires.IsZero() && spec.Expires.Before(time.Now()) {
		return ferry.NewKey{}, ferry.Errorf(ferry.CodeBadTime, "the key would have expired already")
	}
	return b.ledger.CreateKey(ctx, spec, by)
}

func (b *Broker) knownRoutes(routes []string) error {
	for _, r := range routes {
		if _, ok := b.route(r); !ok {
			return ferry.Errorf(ferry.CodeRouteNotFound, "there is no route %q", r).WithHint("this broker has %v", b.names())
		}
	}
	return nil
}

// QuotaUsed is how many accepted messages were counted in a quota's window.
func (b *Broker) QuotaUsed(name string, until time.Time, per time.Duration) (int64, error) {
	return b.ledger.QuotaUsed(name, until, per)
}

// Keys lists the API keys without their secrets.
func (b *Broker) Keys(context.Context) ([]ferry.Key, error) { return b.ledger.Keys(), nil }

// RotateKey gives one of a key's secrets another text; the other one goes on.
// secret is primary, secondary, or empty: the older one.
func (b *Broker) RotateKey(ctx context.Context, id, secret, note, by string) (ferry.NewKey, error) {
	return b.ledger.RotateKey(ctx, id, secret, note, by)
}

// EditKey changes what a key may, and until when; its secrets stay.
func (b *Broker) EditKey(ctx context.Context, id string, edit ferry.KeyEdit, by string) (ferry.Key, error) {
	if edit.Routes != nil {
		if err := b.knownRoutes(*edit.Routes); err != nil {
			return ferry.Key{}, err
		}
	}
	return b.ledger.EditKey(ctx, id, edit, by)
}

// RevokeKey ends a key for ever, both of its secrets.
func (b *Broker) RevokeKey(ctx context.Context, id, note, by string) (ferry.Key, error) {
	return b.ledger.RevokeKey(ctx, id, note, by)
}

// AddWorker lets a worker log in for routes. Its seed is in the answer only.
func (b *Broker) AddWorker(ctx context.Context, name string, routes []string, note, by string) (ferry.NewWorker, error) {
	if err := ferry.ValidName("worker", name); err != nil {
		return ferry.NewWorker{}, err
	}
	if len(routes) == 0 {
		return ferry.NewWorker{}, ferry.Errorf(ferry.CodeInvalid, "a worker needs at least one route").WithHint("this broker has %v", b.names())
	}
	if err := b.knownRoutes(routes); err != nil {
		return ferry.NewWorker{}, err
	}
	w := ferry.WorkerInfo{Name: name, Routes: routes, CreatedAt: time.Now().UTC()}
	return b.login(ctx, w, true, "workers add", note, by)
}

// RotateWorker gives a worker new credentials; connections under the old ones
// are cut.
func (b *Broker) RotateWorker(ctx context.Context, name, note, by string) (ferry.NewWorker, error) {
	w, ok := b.worker(name)
	if !ok {
		return ferry.NewWorker{}, noWorker(name)
	}
	return b.login(ctx, w, false, "workers rotate", note, by)
}

func noWorker(name string) error {
	return ferry.Errorf(ferry.CodeNotFound, "there is no worker %q", name).WithHint("broker workers list shows them")
}

func (b *Broker) login(ctx context.Context, w ferry.WorkerInfo, fresh bool, act, note, by string) (ferry.NewWorker, error) {
	public, seed, err := b.transport.NewLogin()
	if err != nil {
		return ferry.NewWorker{}, err
	}
	w.PublicKey = public
	if err := b.ledger.SaveWorker(ctx, w, fresh, act, note, by); err != nil {
		return ferry.NewWorker{}, err
	}
	if err := b.admit(w.Name); err != nil {
		return ferry.NewWorker{}, err
	}
	for _, name := range w.Routes { // it may have been held back while its worker was revoked
		if r, ok := b.route(name); ok {
			r.relay.nudge()
		}
	}
	made := ferry.NewWorker{WorkerInfo: w, Seed: seed}
	made.WorkerInfo.Queue, made.WorkerInfo.State = b.queue.Properties().Name, b.workerState(w)
	if known, ok := b.transport.(WorkerConfig); ok {
		made.WorkerConfig = known.WorkerConfig("NKEY")
	}
	if elsewhere, ok := b.transport.(LoginElsewhere); ok {
		made.WorkerInfo.LoginElsewhere = true
		if made.LoginConfig, err = elsewhere.LoginConfig(w); err != nil {
			return ferry.NewWorker{}, err
		}
		b.askForHello(ctx, w.Name) // it may be connected under an earlier login
	}
	return made, nil
}

// admit tells the queue who may log in, after a change of the worker. One at a time:
// a list that was read before another change must not reach the queue after that
// change, or it would let in who was revoked.
func (b *Broker) admit(worker string) error {
	b.admitting <- struct{}{}
	defer func() { <-b.admitting }()
	if err := b.transport.SetWorkers(b.ledger.Workers()); err != nil {
		return fmt.Errorf("tell the queue of worker %s: %w", worker, err)
	}
	return nil
}

// RevokeWorker ends a worker's login and cuts its connection at once.
func (b *Broker) RevokeWorker(ctx context.Context, name, note, by string) (ferry.WorkerInfo, error) {
	w, ok := b.worker(name)
	if !ok {
		return ferry.WorkerInfo{}, noWorker(name)
	}
	now := time.Now().UTC()
	w.RevokedAt = &now
	if err := b.ledger.SaveWorker(ctx, w, false, "workers revoke", note, by); err != nil {
		return ferry.WorkerInfo{}, err
	}
	b.fleet.forget(name)
	if err := b.admit(name); err != nil {
		return ferry.WorkerInfo{}, err
	}
	w.Queue, w.State = b.queue.Properties().Name, b.workerState(w)
	if _, w.LoginElsewhere = b.transport.(LoginElsewhere); w.LoginElsewhere {
		// It may still be connected: what it was granted ends with its next hello.
		b.askForHello(ctx, name)
	}
	return w, nil
}

// Workers lists the workers, with what was last heard of them.
func (b *Broker) Workers(context.Context) ([]ferry.WorkerInfo, error) { return b.workerInfos(), nil }

func (b *Broker) workerInfos() []ferry.WorkerInfo {
	list := b.ledger.Workers()
	_, elsewhere := b.transport.(LoginElsewhere)
	var open map[string][]ferry.WorkerConnection
	if t, ok := b.transport.(Connected); ok {
		open = t.Connections()
	}
	for i := range list {
		list[i].State = b.workerState(list[i])
		list[i].Connections = open[list[i].PublicKey]
		list[i].LoginElsewhere, list[i].Queue = elsewhere, b.queue.Properties().Name
		if s := b.fleet.get(list[i].Name); s != nil {
			at := s.at.UTC()
			list[i].LastSeen, list[i].Version, list[i].Inbox = &at, s.hello.Version, s.hello.Inbox
		}
	}
	return list
}

// workerState says how a worker of the ledger stands.
func (b *Broker) workerState(w ferry.WorkerInfo) ferry.WorkerState {
	s := b.fleet.get(w.Name)
	switch {
	case w.RevokedAt != nil:
		return ferry.WorkerRevoked
	case s == nil && w.CreatedAt.Before(b.startedAt):
		return ferry.WorkerNotSinceStart
	case s == nil:
		return ferry.WorkerNeverSeen
	case s.left:
		return ferry.WorkerStopped
	case !b.fleet.heard(w.Name):
		return ferry.WorkerAway
	default:
		return ferry.WorkerConnected
	}
}
