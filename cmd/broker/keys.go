package main

import (
	"time"

	"ferry"
)

type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Make a key; its text is shown once."`
	List   keysListCmd   `cmd:"" help:"Every key, without its text."`
	Rotate keysRotateCmd `cmd:"" help:"Give a key a new text; the old one ends at once."`
	Revoke keysRevokeCmd `cmd:"" help:"End a key at once."`
}

type keysCreateCmd struct {
	Name    string   `arg:"" help:"Who will use it, such as flow-invoices."`
	Role    string   `required:"" enum:"sender,receiver,operator,admin" help:"sender, receiver, operator or admin."`
	Routes  []string `placeholder:"A,B" help:"Only these routes (sender, receiver); none means all."`
	Expires string   `placeholder:"TIME" help:"When it ends: a time, or a duration from now such as 90d."`
	Rate    string   `placeholder:"N/m" help:"How many messages it may send, such as 600/m; in the place of limits.perKey."`
	Burst   int      `placeholder:"N" help:"With --rate: how many of them at once."`
	Quota   string   `placeholder:"N/d" help:"How many messages it may send in a UTC day, or another window, such as 10000/d."`
	Out     string   `placeholder:"FILE" help:"Write the key here, readable by you only; the file must not exist."`
}

// limit reads what the flags say of the key's limit.
func (k keysCreateCmd) limit() (l ferry.Limit, err error) {
	l.Burst = k.Burst
	if l.Rate, err = ferry.ParseRate(k.Rate); err != nil {
		return l, usagef("--rate: %v", err).withHint("such as 600/m")
	}
	if l.Quota, err = ferry.ParseRate(k.Quota); err != nil {
		return l, usagef("--quota: %v", err).withHint("such as 10000/d")
	}
	if fault := l.Check(); fault != nil {
		return l, usagef("%s", fault.Message).withHint("%s", fault.Hint)
	}
	return l, nil
}

// Run makes the key.
func (k keysCreateCmd) Run(a *app) error {
	expires, err := a.future("--expires", k.Expires)
	if err != nil {
		return err
	}
	if !expires.IsZero() && !expires.After(a.now()) {
		return usagef("--expires %s has passed", moment(expires))
	}
	limit, err := k.limit()
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	return a.handOverKey("made", k.Out, func() (ferry.NewKey, error) {
		return c.CreateKey(a.ctx, ferry.KeySpec{Name: k.Name, Role: ferry.Role(k.Role), Routes: k.Routes, Expires: expires, Limit: limit})
	})
}

type keysListCmd struct{}

// Run lists the keys.
func (keysListCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	keys, err := c.Keys(a.ctx)
	if err != nil {
		return err
	}
	p, now := a.paint(), a.now()
	return writeList(a, keys, "no keys yet",
		[]column{left("ID"), left("NAME"), left("ROLE"), long("ROUTES"), left("STATE"), right("LAST USED"), right("AGE")},
		func(k ferry.Key) []any {
			return []any{k.ID, k.Name, string(k.Role), orAll(k.Routes), keyState(p, now, k), ageOf(now, k.LastUsed), age(now, k.CreatedAt)}
		})
}

func keyState(p paint, now time.Time, k ferry.Key) cell {
	switch {
	case k.RevokedAt != nil:
		return cell{"revoked", p.red}
	case k.ExpiresAt != nil && !k.ExpiresAt.After(now):
		return cell{"expired", p.red}
	case k.ExpiresAt != nil:
		return cell{"ends " + age(now, *k.ExpiresAt), p.yellow}
	default:
		return cell{"good", p.green}
	}
}

type keysRotateCmd struct {
	ID  string `arg:"" help:"The key's id, from broker keys list."`
	Out string `placeholder:"FILE" help:"Write the key here, readable by you only; the file must not exist."`
}

// Run gives the key a new text.
func (k keysRotateCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	return a.handOverKey("rotated", k.Out, func() (ferry.NewKey, error) { return c.RotateKey(a.ctx, k.ID) })
}

type keysRevokeCmd struct {
	ID string `arg:"" help:"The key's id, from broker keys list."`
}

// Run ends the key.
func (k keysRevokeCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	key, err := c.RevokeKey(a.ctx, k.ID)
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(key)
	}
	a.printf("key %s of %s is revoked\n", key.ID, key.Name)
	return nil
}

// handOverKey calls make and hands its secret over, the only time that anybody
// sees it: into file, else to stdout.
func (a *app) handOverKey(verb, file string, make func() (ferry.NewKey, error)) error {
	var key ferry.NewKey
	err := a.handOver(file, func() (secret string, err error) {
		key, err = make()
		return key.Secret, err
	})
	if err != nil {
		return err
	}
	if a.json() {
		if file != "" {
			key.Secret = ""
			return a.writeJSON(key.Key)
		}
		return a.writeJSON(key)
	}
	a.remark("key %s of %s (%s, routes: %s) is %s", key.ID, key.Name, key.Role, orAll(key.Routes), verb)
	if file != "" {
		a.remark("it lies in %s; nobody can show it again", file)
		return nil
	}
	a.remark("nobody can show it again:")
	a.printf("%s\n", key.Secret)
	return nil
}
