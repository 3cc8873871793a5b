{{- define "audit.podSecurity" -}}
{{- $user := . -}}
runAsNonRoot: true
runAsUser: {{ $user }}
runAsGroup: {{ $user }}
fsGroup: {{ $user }}
# Where the volume's root is theirs already, nothing is changed: the group may not read key files.
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "audit.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The beginning of every pod's spec of ours. */}}
{{- define "audit.podStart" -}}
serviceAccountName: {{ include "audit.serviceAccount" . }}
automountServiceAccountToken: false
# A Service of this name would give variables that look like options.
enableServiceLinks: false
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "audit.env" -}}
{{- if include "audit.shared" . }}
- {name: RLHF_AUDIT_DATABASE_URL_FILE, value: /run/secrets/rlhf-audit/database-url}
{{- end }}
{{- if include "audit.usesRedis" . }}
- {name: RLHF_AUDIT_REDIS_URL_FILE, value: /run/secrets/rlhf-audit/redis-url}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "audit.envFrom" -}}
- configMapRef: {name: {{ include "audit.fullname" . }}}
{{- with .Values.objects.existingSecret }}
- secretRef: {name: {{ . }}}
{{- end }}
{{- end -}}

{{- define "audit.mounts" -}}
# Not a volume's root, which on ext4 has a lost+found of its own.
- {name: data, mountPath: /data, subPath: ledger}
- {name: tmp, mountPath: /tmp}
- {name: secrets, mountPath: /run/secrets/rlhf-audit, readOnly: true}
{{- if .Values.config }}
- {name: jobs, mountPath: /etc/rlhf-audit, readOnly: true}
{{- end }}
{{- end -}}

{{/* The volumes of every pod that opens the ledger; an embedded server's data volume is its own template's. */}}
{{- define "audit.volumes" -}}
{{- $root := index . 0 -}}
{{- $data := index . 1 -}}
{{- if not $data }}
{{- else if include "audit.onVolume" $root }}
- name: data
  persistentVolumeClaim: {claimName: {{ include "audit.dataClaim" $root }}}
{{- else }}
- name: data
  emptyDir: {medium: Memory, sizeLimit: 64Mi}
{{- end }}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
- name: secrets
  projected:
    defaultMode: 0440
    sources:
      - secret:
          name: {{ include "audit.secret" $root }}
          items:
            - {key: admin-token, path: admin-token}
{{- if and (include "audit.shared" $root) (not (include "audit.hasPostgres" $root)) }}
            - {key: database-url, path: database-url}
{{- end }}
{{- if and (include "audit.usesRedis" $root) (not (include "audit.hasRedis" $root)) }}
            - {key: redis-url, path: redis-url}
{{- end }}
{{- if or (include "audit.hasPostgres" $root) (include "audit.hasRedis" $root) }}
      - secret:
          name: {{ include "audit.storesSecret" $root }}
          items:
{{- if include "audit.hasPostgres" $root }}
            - {key: database-url, path: database-url}
{{- end }}
{{- if include "audit.hasRedis" $root }}
            - {key: redis-url, path: redis-url}
{{- end }}
{{- end }}
{{- if include "audit.keysMounted" $root }}
- name: keys
  secret: {secretName: {{ include "audit.keysSecret" $root }}, defaultMode: 0440}
{{- end }}
{{- if $root.Values.config }}
- name: jobs
  configMap:
    name: {{ include "audit.fullname" $root }}-jobs
{{- end }}
{{- end -}}

{{/* Keys out of a Secret, each mode 0600 as they have to be: a mounted Secret is never its reader's own. On a volume they are
there from the first start on, and what is there is never replaced. */}}
{{- define "audit.keysContainer" -}}
{{- if include "audit.keysMounted" . }}
- name: keys
  image: {{ include "audit.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [bash, -euc]
  args:
    - |
      umask 077
      mkdir -p /data/keys
      for key in /run/secrets/keys/*; do
        to=/data/keys/${key##*/}
        if [[ -e $to ]]; then
          [[ $(<"$key") == "$(<"$to")" ]] || { echo "$to is another key than the Secret's; see docs/operations/keys.md" >&2; exit 1; }
        else
          cat "$key" > "$to.$HOSTNAME" && mv "$to.$HOSTNAME" "$to"
        fi
      done
  resources:
    requests: {cpu: 10m, memory: 16Mi}
    limits: {cpu: 250m, memory: 64Mi}
  securityContext:
    {{- include "audit.containerSecurity" . | nindent 4 }}
  volumeMounts:
    - {name: data, mountPath: /data, subPath: ledger}
    - {name: keys, mountPath: /run/secrets/keys, readOnly: true}
{{- end }}
{{- end -}}

{{/* The first server makes the ledger. */}}
{{- define "audit.waitContainer" -}}
- name: wait
  image: {{ include "audit.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  command: [bash, -c]
  args:
    - until [[ $(rlhf-audit doctor database) == *"holds a ledger"* ]]; do sleep 2; done
  env:
    {{- include "audit.env" . | trim | nindent 4 }}
  envFrom:
    {{- include "audit.envFrom" . | nindent 4 }}
  resources:
    requests: {cpu: 10m, memory: 32Mi}
    limits: {cpu: 250m, memory: 128Mi}
  securityContext:
    {{- include "audit.containerSecurity" . | nindent 4 }}
  volumeMounts:
    {{- include "audit.mounts" . | nindent 4 }}
{{- end -}}

{{/* Where a pod may be: (list . values). A volume of one node keeps all pods there. */}}
{{- define "audit.placing" -}}
{{- $root := index . 0 -}}
{{- $values := index . 1 -}}
{{- $affinity := deepCopy ($values.affinity | default dict) -}}
{{- if and (include "audit.onVolume" $root) (ne $root.Values.persistence.accessMode "ReadWriteMany") -}}
{{- $labels := include "audit.selector" (list $root "app") | fromYaml -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $labels) -}}
{{- $pods := $affinity.podAffinity | default dict -}}
{{- $required := append ($pods.requiredDuringSchedulingIgnoredDuringExecution | default list) $term -}}
{{- $_ := set $pods "requiredDuringSchedulingIgnoredDuringExecution" $required -}}
{{- $_ := set $affinity "podAffinity" $pods -}}
{{- end -}}
{{- with $affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* New pods where the configuration is another. */}}
{{- define "audit.annotations" -}}
{{- $root := index . 0 -}}
checksum/config: {{ include (print $root.Template.BasePath "/configmap.yaml") $root | sha256sum }}
{{- with index . 1 }}
{{ toYaml . }}
{{- end }}
{{- end -}}
