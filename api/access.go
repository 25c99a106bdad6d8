package api

import (
	"net/http"
	"slices"
	"strconv"
	"time"

	"ferry"
)

// KeyRequest makes an API key.
type KeyRequest struct {
	Name          string      `json:"name"`
	Role          ferry.Role  `json:"role"`
	Routes        []string    `json:"routes,omitempty" doc:"sender and receiver: which; none means all"`
	ExpiresAt     string      `json:"expiresAt,omitempty" doc:"RFC 3339 with an offset; absent: never"`
	EnvironmentID string      `json:"environmentId,omitempty" doc:"Power Platform environment of the flows that use it, at most 128 characters; it makes links to their runs"`
	Note          string      `json:"note,omitempty" doc:"why; kept in the audit, at most 1024 bytes"`
	Limit         ferry.Limit `json:"limit,omitzero" doc:"in the place of the broker's for every key"`
}

func (c *call) createKey() error {
	var in KeyRequest
	if err := c.decode(&in, maxCommand, false); err != nil {
		return err
	}
	if fault := ferry.ValidName("key", in.Name); fault != nil {
		return fault
	}
	if !slices.Contains(ferry.Roles(), in.Role) {
		return invalid("/role", "%q is no role", clip(string(in.Role))).WithHint("one of %v", ferry.Roles())
	}
	if len(in.Routes) > 0 && in.Role != ferry.RoleSender && in.Role != ferry.RoleReceiver {
		return invalid("/routes", "a key of the role %s is not bound to routes", in.Role)
	}
	if err := c.checkRoutes(in.Routes); err != nil {
		return err
	}
	if fault := checkEnvironment(in.EnvironmentID); fault != nil {
		return fault
	}
	if err := checkNote(in.Note, false); err != nil {
		return err
	}
	expires, err := c.future("expiresAt", in.ExpiresAt)
	if err != nil {
		return err
	}
	if fault := in.Limit.Check(); fault != nil {
		fault.Details = []ferry.ErrorDetail{{Detail: fault.Message, Pointer: "/limit"}}
		return fault
	}
	key, err := c.api.svc.CreateKey(c.ctx(), ferry.KeySpec{
		Name: in.Name, Role: in.Role, Routes: in.Routes, Expires: expires, Environment: in.EnvironmentID, Note: in.Note, Limit: in.Limit,
	}, c.who.Name)
	return answer(c, http.StatusCreated, key, err)
}

func checkEnvironment(id string) *ferry.Error {
	if len(id) > ferry.MaxEnvironmentID || !plain(id) {
		return invalid("/environmentId", "the environment id has control characters, or more than %d bytes", ferry.MaxEnvironmentID)
	}
	return nil
}

// checkRoutes wants every named route to exist, once.
func (c *call) checkRoutes(routes []string) error {
	var details []ferry.ErrorDetail
	seen := map[string]bool{}
	for i, name := range routes {
		pointer := "/routes/" + strconv.Itoa(i)
		if _, ok := c.api.svc.Route(name); !ok {
			details = append(details, ferry.ErrorDetail{Detail: "there is no route " + clip(name), Pointer: pointer})
		} else if seen[name] {
			details = append(details, ferry.ErrorDetail{Detail: "the route " + name + " is named twice", Pointer: pointer})
		}
		seen[name] = true
	}
	if details == nil {
		return nil
	}
	e := ferry.Errorf(ferry.CodeInvalid, "the routes cannot be used: %s", details[0].Detail)
	e.Details = details[:min(len(details), 100)]
	return e.WithHint("GET /v1/routes lists the routes")
}

func (c *call) listKeys() error {
	list, err := c.api.svc.Keys(c.ctx())
	return items(c, list, err)
}

// RotateKeyRequest says which secret of a key is to have another text.
type RotateKeyRequest struct {
	Secret string `json:"secret,omitempty" doc:"primary or secondary; absent: the older one, refused when that is in use and the newer one never was"`
	Note   string `json:"note,omitempty" doc:"why; kept in the audit, at most 1024 bytes"`
}

func (c *call) rotateKey() error {
	var in RotateKeyRequest
	if err := c.decode(&in, maxCommand, true); err != nil {
		return err
	}
	if in.Secret != "" && in.Secret != ferry.SecretPrimary && in.Secret != ferry.SecretSecondary {
		return invalid("/secret", "a key has no secret %q", clip(in.Secret)).WithHint("primary or secondary")
	}
	if err := checkNote(in.Note, false); err != nil {
		return err
	}
	key, err := c.api.svc.RotateKey(c.ctx(), c.r.PathValue("id"), in.Secret, in.Note, c.who.Name)
	return answer(c, http.StatusOK, key, err)
}

// EditKeyRequest changes what a key may, and until when. What is absent stays.
type EditKeyRequest struct {
	ExpiresAt     *string      `json:"expiresAt,omitempty" doc:"RFC 3339 with an offset; empty: never"`
	Routes        *[]string    `json:"routes,omitempty" doc:"sender and receiver: which; an empty list: all"`
	EnvironmentID *string      `json:"environmentId,omitempty" doc:"Power Platform environment of the flows that use it; empty: none"`
	Limit         *ferry.Limit `json:"limit,omitempty" doc:"the whole limit; an empty object: the broker's for every key"`
	Note          string       `json:"note,omitempty" doc:"why; kept in the audit, at most 1024 bytes"`
}

func (c *call) editKey() error {
	var in EditKeyRequest
	if err := c.decode(&in, maxCommand, false); err != nil {
		return err
	}
	if in.ExpiresAt == nil && in.Routes == nil && in.EnvironmentID == nil && in.Limit == nil {
		return invalid("", "the request changes nothing").WithHint("give expiresAt, routes, environmentId or limit")
	}
	if in.Limit != nil {
		if fault := in.Limit.Check(); fault != nil {
			fault.Details = []ferry.ErrorDetail{{Detail: fault.Message, Pointer: "/limit"}}
			return fault
		}
	}
	if err := checkNote(in.Note, false); err != nil {
		return err
	}
	edit := ferry.KeyEdit{Routes: in.Routes, Environment: in.EnvironmentID, Limit: in.Limit, Note: in.Note}
	if in.Routes != nil {
		if err := c.checkRoutes(*in.Routes); err != nil {
			return err
		}
	}
	if in.EnvironmentID != nil {
		if fault := checkEnvironment(*in.EnvironmentID); fault != nil {
			return fault
		}
	}
	if in.ExpiresAt != nil {
		expires := time.Time{}
		if *in.ExpiresAt != "" {
			var err error
			if expires, err = c.future("expiresAt", *in.ExpiresAt); err != nil {
				return err
			}
		}
		edit.Expires = &expires
	}
	key, err := c.api.svc.EditKey(c.ctx(), c.r.PathValue("id"), edit, c.who.Name)
	return answer(c, http.StatusOK, key, err)
}

func (c *call) revokeKey() error {
	note, err := c.note(false)
	if err != nil {
		return err
	}
	key, err := c.api.svc.RevokeKey(c.ctx(), c.r.PathValue("id"), note, c.who.Name)
	return answer(c, http.StatusOK, key, err)
}

// WorkerRequest makes a worker for routes.
type WorkerRequest struct {
	Name   string   `json:"name"`
	Routes []string `json:"routes"`
	Note   string   `json:"note,omitempty" doc:"why; kept in the audit, at most 1024 bytes"`
}

func (c *call) addWorker() error {
	var in WorkerRequest
	if err := c.decode(&in, maxCommand, false); err != nil {
		return err
	}
	if fault := ferry.ValidName("worker", in.Name); fault != nil {
		return fault
	}
	if len(in.Routes) == 0 {
		return invalid("/routes", "a worker needs at least one route")
	}
	if err := c.checkRoutes(in.Routes); err != nil {
		return err
	}
	if err := checkNote(in.Note, false); err != nil {
		return err
	}
	w, err := c.api.svc.AddWorker(c.ctx(), in.Name, in.Routes, in.Note, c.who.Name)
	return answer(c, http.StatusCreated, w, err)
}

func (c *call) listWorkers() error {
	list, err := c.api.svc.Workers(c.ctx())
	return items(c, list, err)
}

func (c *call) rotateWorker() error {
	note, err := c.note(false)
	if err != nil {
		return err
	}
	w, err := c.api.svc.RotateWorker(c.ctx(), c.r.PathValue("name"), note, c.who.Name)
	return answer(c, http.StatusOK, w, err)
}

func (c *call) revokeWorker() error {
	note, err := c.note(false)
	if err != nil {
		return err
	}
	w, err := c.api.svc.RevokeWorker(c.ctx(), c.r.PathValue("name"), note, c.who.Name)
	return answer(c, http.StatusOK, w, err)
}
