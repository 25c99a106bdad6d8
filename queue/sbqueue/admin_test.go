package sbqueue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"ferry/internal/sbemu/entity"
	"ferry/internal/servicebus"
)

// remoteAdmin looks at the double's queues and makes them, from any process. That
// the real thing does is for the tests of servicebus.
type remoteAdmin struct{ address string }

func (a remoteAdmin) Queue(ctx context.Context, name string) (info servicebus.QueueInfo, err error) {
	err = a.call(ctx, http.MethodGet, url.PathEscape(name), nil, &info)
	return info, err
}

func (a remoteAdmin) Create(ctx context.Context, s servicebus.QueueSpec) (made bool, err error) {
	err = a.call(ctx, http.MethodPut, url.PathEscape(s.Name), s, &made)
	return made, err
}

func (a remoteAdmin) call(ctx context.Context, method, path string, in, out any) error {
	text, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+a.address+"/admin/"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Close = true // no connection stays behind
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("%w: %w", servicebus.ErrUnavailable, err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK:
		return json.NewDecoder(response.Body).Decode(out)
	case http.StatusNotFound:
		return servicebus.ErrNotFound
	default:
		return fmt.Errorf("%w: %s", servicebus.ErrRefused, response.Status)
	}
}

func serveAdmin(n *entity.Namespace, w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path[len("/admin/"):]
	var answer any
	if r.Method == http.MethodPut {
		var s servicebus.QueueSpec
		if err := json.NewDecoder(r.Body).Decode(&s); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		_, err := n.Create(entity.Config{Name: s.Name, LockDuration: s.Lock, DuplicateWindow: s.DuplicateWindow, MaxDelivery: s.MaxDeliveries})
		if err != nil && !errors.Is(err, entity.ErrExists) {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer = err == nil
	} else {
		q, err := n.Queue(name)
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		c := q.Config()
		answer = servicebus.QueueInfo{
			Name: c.Name, Lock: c.LockDuration, DuplicateWindow: c.DuplicateWindow, MaxDeliveries: c.MaxDelivery, TimeToLive: c.DefaultTTL,
			RequiresSession: c.RequiresSession, Created: q.CreatedAt(),
		}
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}
