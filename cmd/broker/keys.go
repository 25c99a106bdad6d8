package main

import (
	"slices"
	"strings"
	"time"

	"ferry"
)

type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Make a key; its text is shown once."`
	List   keysListCmd   `cmd:"" help:"Every key, without its text, and when each of its two secrets was made and last used."`
	Rotate keysRotateCmd `cmd:"" help:"Give one of a key's two secrets a new text; the other one goes on."`
	Edit   keysEditCmd   `cmd:"" help:"Change what a key may, and until when; its text stays."`
	Revoke keysRevokeCmd `cmd:"" help:"End a key at once, both of its secrets."`
}

type keysCreateCmd struct {
	Name          string   `arg:"" help:"Who will use it, such as flow-invoices."`
	Role          string   `required:"" enum:"sender,receiver,operator,admin" help:"sender, receiver, operator or admin."`
	Routes        []string `placeholder:"A,B" help:"Only these routes (sender, receiver); none means all."`
	Expires       string   `placeholder:"TIME" help:"When it ends: a time, or a duration from now such as 90d."`
	EnvironmentID string   `placeholder:"ID" help:"The Power Platform environment of the flows that use it: it makes links to their runs."`
	limitFlags
	Both bool   `help:"Show the second text too, on a line of its own; else broker keys rotate makes one when it is needed."`
	Note string `placeholder:"TEXT" help:"Why; kept in the audit log."`
	Out  string `placeholder:"FILE" help:"Write the key here, readable by you only; the file must not exist."`
}

// Run makes the key.
func (k keysCreateCmd) Run(a *app) error {
	expires, err := a.notPast("--expires", k.Expires)
	if err != nil {
		return err
	}
	limit, err := k.limit()
	if err != nil {
		return err
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	return a.handOverKey("made", k.Out, k.Both, func() (ferry.NewKey, error) {
		return c.CreateKey(a.ctx, ferry.KeySpec{
			Name: k.Name, Role: ferry.Role(k.Role), Routes: k.Routes, Expires: expires, Environment: k.EnvironmentID, Note: k.Note, Limit: limit,
		})
	})
}

// notPast reads a time of a flag that must lie ahead; empty is the zero time.
func (a *app) notPast(flag, value string) (time.Time, error) {
	t, err := a.future(flag, value)
	if err == nil && !t.IsZero() && !t.After(a.now()) {
		err = usagef("%s %s has passed", flag, moment(t))
	}
	return t, err
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
	columns := []column{left("ID"), left("NAME"), left("ROLE"), long("ROUTES"), left("STATE"), right("PRIMARY"), right("USED"), right("SECONDARY"), right("USED")}
	limited := slices.ContainsFunc(keys, func(k ferry.Key) bool { return !k.Limit.IsZero() })
	if limited {
		columns = append(columns, left("LIMIT"))
	}
	return writeList(a, keys, "no keys yet", columns,
		func(k ferry.Key) []any {
			row := []any{k.ID, k.Name, string(k.Role), orAll(k.Routes), keyState(p, now, k)}
			for _, name := range []string{ferry.SecretPrimary, ferry.SecretSecondary} {
				made, used := secretAges(now, k, name)
				row = append(row, made, used)
			}
			if limited {
				row = append(row, k.Limit.String())
			}
			return row
		})
}

// secretAges is how old a secret of a key is, and how long ago it was used; none
// of a key that has no such secret yet.
func secretAges(now time.Time, k ferry.Key, name string) (made, used string) {
	for _, s := range k.Secrets {
		if s.Name == name {
			return age(now, s.CreatedAt), ageOf(now, s.LastUsed)
		}
	}
	return "none", ageOf(now, nil)
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
	ID     string `arg:"" help:"The key's id, from broker keys list."`
	Secret string `enum:"primary,secondary,older" default:"older" help:"Which of its texts ends: primary, secondary, or the older one (${default}); that one is kept when it is in use and the newer one never was."`
	Note   string `placeholder:"TEXT" help:"Why; kept in the audit log."`
	Out    string `placeholder:"FILE" help:"Write the key here, readable by you only; the file must not exist."`
}

// Run gives the key a new text.
func (k keysRotateCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	secret := k.Secret
	if secret == "older" {
		secret = ""
	}
	return a.handOverKey("rotated", k.Out, false, func() (ferry.NewKey, error) { return c.RotateKey(a.ctx, k.ID, secret, k.Note) })
}

type keysEditCmd struct {
	ID            string   `arg:"" help:"The key's id, from broker keys list."`
	Expires       string   `placeholder:"TIME" help:"When it ends: a time, a duration from now such as 90d, or never."`
	Routes        []string `placeholder:"A,B" help:"Only these routes (sender, receiver), or all."`
	EnvironmentID *string  `placeholder:"ID" help:"The Power Platform environment of the flows that use it; empty: none."`
	limitFlags
	NoLimit bool   `help:"Take its own limit away."`
	Note    string `placeholder:"TEXT" help:"Why; kept in the audit log."`
}

// Run changes the key.
func (k keysEditCmd) Run(a *app) error {
	edit := ferry.KeyEdit{Environment: k.EnvironmentID, Note: k.Note}
	if len(k.Routes) > 0 {
		edit.Routes = &k.Routes
		if len(k.Routes) == 1 && k.Routes[0] == "all" {
			edit.Routes = &[]string{}
		}
	}
	if k.Expires != "" {
		edit.Expires = new(time.Time)
		if k.Expires != "never" {
			var err error
			if *edit.Expires, err = a.notPast("--expires", k.Expires); err != nil {
				return err
			}
		}
	}
	limit, err := k.limit()
	switch {
	case err != nil:
		return err
	case k.NoLimit && !limit.IsZero():
		return usagef("--no-limit and a limit are both given")
	case k.NoLimit || !limit.IsZero():
		edit.Limit = &limit
	}
	if edit.Routes == nil && edit.Expires == nil && edit.Environment == nil && edit.Limit == nil {
		return usagef("nothing is to change").withHint("--expires, --routes, --environment-id, --rate, --quota or --no-limit")
	}
	c, err := a.client()
	if err != nil {
		return err
	}
	key, err := c.EditKey(a.ctx, k.ID, edit)
	if err != nil {
		return err
	}
	if a.json() {
		return a.writeJSON(key)
	}
	until := "never ends"
	if key.ExpiresAt != nil {
		until = "ends at " + moment(*key.ExpiresAt)
	}
	a.printf("key %s of %s (%s, routes: %s) %s\n", key.ID, key.Name, key.Role, orAll(key.Routes), until)
	return nil
}

type keysRevokeCmd struct {
	ID   string `arg:"" help:"The key's id, from broker keys list."`
	Note string `placeholder:"TEXT" help:"Why; kept in the audit log."`
}

// Run ends the key.
func (k keysRevokeCmd) Run(a *app) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	key, err := c.RevokeKey(a.ctx, k.ID, k.Note)
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
// sees it: into file, else to stdout. With both the secondary one follows it, on a
// line of its own.
func (a *app) handOverKey(verb, file string, both bool, make func() (ferry.NewKey, error)) error {
	var key ferry.NewKey
	texts := ""
	err := a.handOver(file, func() (secret string, err error) {
		key, err = make()
		list := []string{key.Secret}
		if both && key.Secondary != "" {
			list = append(list, key.Secondary)
		}
		texts = strings.Join(list, "\n")
		return texts, err
	})
	if err != nil {
		return err
	}
	if a.json() {
		if file != "" {
			return a.writeJSON(key.Key)
		}
		return a.writeJSON(key)
	}
	a.remark("key %s of %s (%s, routes: %s) is %s", key.ID, key.Name, key.Role, orAll(key.Routes), verb)
	if key.Secondary == "" {
		a.remark("this is its %s text; the other one is as good as before", key.Made)
	}
	if file != "" {
		a.remark("it lies in %s; nobody can show it again", file)
		return nil
	}
	a.remark("nobody can show it again:")
	a.printf("%s\n", texts)
	return nil
}
