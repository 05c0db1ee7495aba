{{/* The product's image. */}}
{{- define "fleet.image" -}}
{{ .Values.image | default (printf "fleet:%s" .Chart.AppVersion) }}
{{- end }}

{{/* The port by which devices reach NATS. */}}
{{- define "fleet.natsPort" -}}
{{- $usual := dict "node-port" 30422 "load-balancer" 4222 "ingress" 443 "route" 443 -}}
{{ .Values.nats.port | default (get $usual .Values.nats.exposure) | int }}
{{- end }}

{{/* Labels of the objects of a component, such as "nats". */}}
{{- define "fleet.labels" -}}
app.kubernetes.io/managed-by: fleet
{{ include "fleet.selector" . }}
{{- end }}

{{/* Labels by which the pods of a component are found. */}}
{{- define "fleet.selector" -}}
app.kubernetes.io/part-of: fleet
app.kubernetes.io/component: {{ . }}
{{- end }}

{{/*
A digest of what the mounted files are made from. The job writes the files, so helm does not know them; when the digest
changes, the pods are replaced.
*/}}
{{- define "fleet.filesDigest" -}}
{{- $v := .Values -}}
{{ list .Chart.AppVersion .Release.Namespace $v.identity $v.nats.host $v.nats.exposure (int $v.nats.replicas) $v.upgrade (omit $v.web "exposure" "ingressClass") | toJson | sha256sum | trunc 32 }}
{{- end }}

{{- define "fleet.podSecurityContext" -}}
runAsNonRoot: true
seccompProfile:
  type: RuntimeDefault
{{- with .Values.user }}
runAsUser: {{ int . }}
fsGroup: {{ int . }}
fsGroupChangePolicy: OnRootMismatch
{{- end }}
{{- end }}

{{- define "fleet.containerSecurityContext" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
readOnlyRootFilesystem: true
{{- end }}

{{- define "fleet.imagePullSecrets" -}}
{{- with .Values.pullSecret }}
imagePullSecrets:
  - name: {{ quote . }}
{{- end }}
{{- end }}

{{/* The volumes of a component's pods: its files, which the job writes, and a folder for temporary files. */}}
{{- define "fleet.volumes" -}}
- name: files
  secret:
    secretName: fleet-{{ . }}
    defaultMode: 0440
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- end }}

{{- define "fleet.volumeMounts" -}}
- name: files
  mountPath: /etc/fleet
  readOnly: true
- name: tmp
  mountPath: /tmp
{{- end }}

{{/* Probes of a container that answers HTTP on its port "health". */}}
{{- define "fleet.httpProbes" -}}
startupProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 2
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
{{- end }}

{{/* Spreads the pods of a component over the nodes, as far as there are enough. */}}
{{- define "fleet.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "fleet.selector" . | nindent 8 }}
{{- end }}

{{/* An Ingress that hands TLS through to the port "port" of the Service "service"; two controllers know how. */}}
{{- define "fleet.ingress.annotations" -}}
nginx.ingress.kubernetes.io/ssl-passthrough: "true"
haproxy.org/ssl-passthrough: "true"
{{- end }}

{{- define "fleet.ingress.spec" -}}
{{- with .class }}
ingressClassName: {{ quote . }}
{{- end }}
rules:
  - host: {{ quote .host }}
    http:
      paths:
        - path: /
          pathType: Prefix
          backend:
            service:
              name: {{ .service }}
              port:
                name: {{ .port }}
tls:
  - hosts:
      - {{ quote .host }}
{{- end }}

{{/* The same as a Route of OpenShift. */}}
{{- define "fleet.route.spec" -}}
host: {{ quote .host }}
port:
  targetPort: {{ .port }}
tls:
  termination: passthrough
to:
  kind: Service
  name: {{ .service }}
  weight: 100
wildcardPolicy: None
{{- end }}
