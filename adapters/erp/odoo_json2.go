package erp

import (
	"net/http"
	"net/url"
	"slices"

	"ferry"
	"ferry/adapters"
	"ferry/adapters/httpcall"
)

// odooJSON2 is the dialect of Odoo's JSON-2 API, from version 19 on: an API key as
// a bearer token, and statuses that mean something. Modelled on Odoo's own
// addons/rpc and odoo/http of version 19.
func odooJSON2() dialect {
	return dialect{
		verdicts: slices.Concat(odooErrors(), httpcall.Table{
			{Status: httpcall.Status(409), Kind: ferry.Failed, Effect: ferry.EffectNone},
		}, rest().verdicts),
		lookups:  odooLookups(),
		settings: odooSettings(),
		form: func(r *route, cfg *adapters.RouteConfig) (form, error) {
			return odooForm(r, cfg, &json2Caller{dest: r.dest, model: cfg.Entity})
		},
		problem: func(a *httpcall.Answer) httpcall.Problem {
			if a.Status >= 200 && a.Status <= 299 {
				return httpcall.Problem{}
			}
			o, ok := isObject(a.Body)
			if _, traced := o["debug"]; ok && (traced || o["name"] != nil) {
				return odooException(o)
			}
			return httpcall.DecodeProblem(a.Body)
		},
		probe: func(d *destination) (*operation, error) {
			return (&json2Caller{dest: d, model: "res.users"}).call("context_get", nil, nil)
		},
	}
}

// json2Caller makes the requests for a model.
type json2Caller struct {
	dest  *destination
	model string
}

func (j *json2Caller) call(method string, ids []any, arguments []argument) (*operation, error) {
	body := map[string]any{}
	if ids != nil {
		body["ids"] = ids
	}
	for _, a := range arguments {
		body[a.name] = a.value
	}
	address := j.dest.base.prefix + "/json/2/" + url.PathEscape(j.model) + "/" + method
	if j.dest.base.query != "" {
		address += "?" + j.dest.base.query
	}
	op, err := newOperation(http.MethodPost, address, body)
	if err == nil && j.dest.cfg.Database != "" {
		op.header.Set("X-Odoo-Database", j.dest.cfg.Database)
	}
	return op, err
}

func (j *json2Caller) result(answer any) any { return answer }
