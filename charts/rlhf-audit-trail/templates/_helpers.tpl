{{- define "audit.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "audit.fullname" -}}
{{- $name := include "audit.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What a selector says, which can never change: (list . component) */}}
{{- define "audit.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "audit.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "audit.labels" -}}
{{- $root := index . 0 -}}
{{ include "audit.selector" . }}
app.kubernetes.io/part-of: rlhf-audit-trail
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "audit.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "audit.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "audit.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "audit.secret" -}}
{{- default (printf "%s-secrets" (include "audit.fullname" .)) .Values.secrets.existingSecret -}}
{{- end -}}

{{- define "audit.storesSecret" -}}
{{- printf "%s-stores" (include "audit.fullname" .) -}}
{{- end -}}

{{- define "audit.keysSecret" -}}
{{- default (printf "%s-keys" (include "audit.fullname" .)) .Values.keys.existingSecret -}}
{{- end -}}

{{/* Flags, as "true" or "". */}}
{{- define "audit.shared" -}}{{ if eq .Values.mode "shared" }}true{{ end }}{{- end -}}
{{- define "audit.hasPostgres" -}}{{ if and (include "audit.shared" .) .Values.postgresql.bundled }}true{{ end }}{{- end -}}
{{- define "audit.hasRedis" -}}{{ if and (include "audit.shared" .) .Values.redis.enabled .Values.redis.bundled }}true{{ end }}{{- end -}}
{{- define "audit.usesRedis" -}}{{ if and (include "audit.shared" .) .Values.redis.enabled }}true{{ end }}{{- end -}}
{{- define "audit.keysMounted" -}}{{ if or .Values.keys.existingSecret (and (include "audit.shared" .) .Values.objects.url) }}true{{ end }}{{- end -}}
{{/* All pods of a shared ledger mount one volume. */}}
{{- define "audit.onVolume" -}}{{ if or (not (include "audit.shared" .)) (not .Values.objects.url) }}true{{ end }}{{- end -}}

{{- define "audit.dataClaim" -}}
{{- if not (include "audit.shared" .) -}}
data-{{ include "audit.fullname" . }}-0
{{- else -}}
{{- default (printf "%s-data" (include "audit.fullname" .)) .Values.persistence.existingClaim -}}
{{- end -}}
{{- end -}}

{{/* What was made at the first installation, or else a new one: (list secret key new), base64 as a Secret has it. */}}
{{- define "audit.kept" -}}
{{- $data := (index . 0).data | default dict -}}
{{- get $data (index . 1) | default (index . 2 | b64enc) -}}
{{- end -}}

{{- define "audit.token" -}}
{{- randBytes 32 | replace "+" "-" | replace "/" "_" | trimSuffix "=" -}}
{{- end -}}
