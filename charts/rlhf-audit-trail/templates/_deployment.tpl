{{/* What does its work behind the servers: (list . component args). */}}
{{- define "audit.deployment" -}}
{{- $root := index . 0 -}}
{{- $component := index . 1 -}}
{{- $values := get $root.Values $component -}}
{{- with $root }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "audit.fullname" . }}-{{ $component }}
  labels:
    {{- include "audit.labels" (list . $component) | nindent 4 }}
spec:
  {{- if not (($values.autoscaling | default dict).enabled) }}
  replicas: {{ $values.replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "audit.selector" (list . $component) | nindent 6 }}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxUnavailable: 1, maxSurge: 1}
  revisionHistoryLimit: 5
  template:
    metadata:
      labels:
        {{- include "audit.labels" (list . $component) | nindent 8 }}
      annotations:
        {{- include "audit.annotations" (list . $values.podAnnotations) | nindent 8 }}
    spec:
      {{- include "audit.podStart" . | nindent 6 }}
      terminationGracePeriodSeconds: 30
      securityContext:
        {{- include "audit.podSecurity" 10001 | nindent 8 }}
      {{- with include "audit.placing" (list . $values) | trim }}
      {{- . | nindent 6 }}
      {{- end }}
      initContainers:
        {{- with include "audit.keysContainer" . | trim }}
        {{- . | nindent 8 }}
        {{- end }}
        {{- include "audit.waitContainer" . | nindent 8 }}
      containers:
        - name: {{ $component }}
          image: {{ include "audit.image" . }}
          imagePullPolicy: {{ .Values.image.pullPolicy }}
          command: [rlhf-audit]
{{- end }}
          args: {{ index . 2 | toJson }}
{{- with $root }}
          env:
            - {name: RLHF_AUDIT_METRICS_LISTEN, value: "0.0.0.0:9464"}
            {{- include "audit.env" . | trim | nindent 12 }}
          envFrom:
            {{- include "audit.envFrom" . | nindent 12 }}
          ports:
            - {name: metrics, containerPort: 9464}
          startupProbe:
            httpGet: {path: /health/live, port: metrics}
            periodSeconds: 2
            failureThreshold: 150
          livenessProbe:
            httpGet: {path: /health/live, port: metrics}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /health/ready, port: metrics}
            periodSeconds: 10
            timeoutSeconds: 5
          resources:
            {{- toYaml $values.resources | nindent 12 }}
          securityContext:
            {{- include "audit.containerSecurity" . | nindent 12 }}
          volumeMounts:
            {{- include "audit.mounts" . | nindent 12 }}
      volumes:
        {{- include "audit.volumes" (list . "true") | trim | nindent 8 }}
{{- end }}
{{- end -}}
