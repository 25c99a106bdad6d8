package connector

// brandColor is that of the icon.
const brandColor = "#0b4f6c"

// keyHeader is the header that the connection's key is sent in.
const keyHeader = "Ocp-Apim-Subscription-Key"

// properties makes apiProperties.json: what a connection asks for, and where calls go.
func properties(o *Options, at *place) object {
	policies := []any{object{
		{"templateId", "dynamichosturl"},
		{"title", "One broker per environment"},
		{"parameters", obj("x-ms-apimTemplateParameter.urlTemplate", "https://@connectionParameters('host','"+at.host+"')")},
	}}
	p := obj(
		"iconBrandColor", brandColor,
		"capabilities", texts("actions", "triggers"),
		"publisher", o.Publisher,
	)
	key := object{{"api_key", keyParameter()}, {"host", hostParameter(at)}}
	token := object{{"token", tokenParameter(o)}, {"host", hostParameter(at)}}
	switch o.Auth {
	case AuthAPIKey:
		p = append(p, member{"connectionParameters", key})
	case AuthOAuth:
		p = append(p, member{"connectionParameters", token})
	default:
		p = append(p, member{"connectionParameterSets", object{
			{"uiDefinition", obj("displayName", "Authentication type", "description", "How the connection logs on to the broker.")},
			{"values", []any{
				parameterSet("api-key", "API key", "With a key of the broker.", key),
				parameterSet("entra-id", "Microsoft Entra ID", "With your account of work or school.", token),
			}},
		}})
		// With several ways to log on the definition binds only one of them to its header.
		policies = append(policies, object{
			{"templateId", "setheader"},
			{"title", "The key of the connection"},
			{"parameters", obj(
				"x-ms-apimTemplateParameter.name", keyHeader,
				"x-ms-apimTemplateParameter.value", "@connectionParameters('api_key','')",
				"x-ms-apimTemplateParameter.existsAction", "skip",
				"x-ms-apimTemplate-policySection", "Request",
			)},
		})
	}
	return obj("properties", append(p, member{"policyTemplateInstances", policies}))
}

func parameterSet(name, title, text string, parameters object) object {
	return object{
		{"name", name},
		{"uiDefinition", obj("displayName", title, "description", text)},
		{"parameters", parameters},
	}
}

func keyParameter() object {
	return object{
		{"type", "securestring"},
		{"uiDefinition", obj(
			"displayName", "API Key",
			"description", "A key of the broker with the role sender: fry_ and so on.",
			"tooltip", "Ask the broker's operator: broker keys create NAME --role sender",
			"constraints", object{{"tabIndex", 3}, {"clearText", false}, {"required", "true"}},
		)},
	}
}

func hostParameter(at *place) object {
	standard := ""
	if at.known {
		standard = at.host
	}
	return append(obj("type", "string", "defaultValue", standard), member{"uiDefinition", obj(
		"displayName", "Broker Host",
		"description", "The host name of the broker of this environment, such as broker.contoso.com.",
		"tooltip", "Without https:// and without a path",
		"constraints", object{{"tabIndex", 2}, {"required", "true"}},
	)})
}

func tokenParameter(o *Options) object {
	value := func(s string) object { return obj("value", s) }
	return object{
		{"type", "oauthSetting"},
		{"oAuthSettings", object{
			{"identityProvider", "aad"},
			{"clientId", o.ClientID},
			{"scopes", []any{}},
			{"redirectMode", "GlobalPerConnector"},
			{"redirectUrl", "https://global.consent.azure-apim.net/redirect"},
			{"properties", object{
				{"IsFirstParty", "False"},
				{"AzureActiveDirectoryResourceId", o.Resource},
			}},
			{"customParameters", object{
				{"loginUri", value(loginURL)},
				{"tenantId", value(o.Tenant)},
				{"resourceUri", value(o.Resource)},
			}},
		}},
		{"uiDefinition", obj("displayName", "Sign in", "description", "Sign in with your account of work or school.", "constraints", obj("required", "true"))},
	}
}

const loginURL = "https://login.microsoftonline.com"

// security are the ways to log on as the definition says them; of several the first
// is the one that the wizard takes.
func security(o *Options) (definitions object, uses []any) {
	none := []any{}
	if o.Auth != AuthOAuth {
		definitions = append(definitions, member{"api_key", obj("type", "apiKey", "in", "header", "name", keyHeader)})
		uses = append(uses, object{{"api_key", none}})
	}
	if o.Auth != AuthAPIKey {
		definitions = append(definitions, member{"oauth2_auth", object{
			{"type", "oauth2"},
			{"flow", "accessCode"},
			{"authorizationUrl", loginURL + "/" + o.Tenant + "/oauth2/authorize"},
			{"tokenUrl", loginURL + "/" + o.Tenant + "/oauth2/token"},
			{"scopes", object{}},
		}})
		uses = append(uses, object{{"oauth2_auth", none}})
	}
	return definitions, uses
}

// settings makes settings.json, where paconn keeps its arguments.
func settings() object {
	return object{
		{"connectorId", ""},
		{"environment", ""},
		{"apiProperties", PropertiesFile},
		{"apiDefinition", DefinitionFile},
		{"icon", IconFile},
		{"powerAppsUrl", "https://api.powerapps.com"},
		{"powerAppsApiVersion", "2016-11-01"},
	}
}
